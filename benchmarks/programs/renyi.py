"""Logistic regression under RenyiELBO, AdamW."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import RenyiELBO
from pyro.infer.autoguide import AutoDiagonalNormal

from programs.program import Program

ITEMS, FEATURES = 100, 4


def model(x, y):
    weights = pyro.sample("weights", dist.Normal(0.0, 1.0).expand([FEATURES]).to_event(1))
    with pyro.plate("items", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=x @ weights), obs=y)


def make():
    x = torch.randn(ITEMS, FEATURES)
    y = (torch.rand(ITEMS) < (x[:, 0] - x[:, 1]).sigmoid()).to(x.dtype)
    optim = lambda: pyro.optim.AdamW({"lr": 0.01})
    elbo = RenyiELBO(alpha=0.5, num_particles=3)
    return Program(model, AutoDiagonalNormal(model), lambda step: (x, y), elbo, optim)
