"""A correlation matrix with an LKJ prior and its scales, observations multivariate normal."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoDiagonalNormal

from programs.program import Program

ITEMS, FEATURES = 80, 4


def model(x):
    scales = pyro.sample("scales", dist.HalfNormal(2.0).expand([FEATURES]).to_event(1))
    factor = pyro.sample("factor", dist.LKJCholesky(FEATURES, 2.0))
    with pyro.plate("items", len(x)):
        normal = dist.MultivariateNormal(x.new_zeros(FEATURES), scale_tril=scales[:, None] * factor)
        pyro.sample("x", normal, obs=x)


def make():
    x = torch.randn(ITEMS, FEATURES) @ (torch.eye(FEATURES) + 0.4)
    return Program(model, AutoDiagonalNormal(model), lambda step: (x,))
