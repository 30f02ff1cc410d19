"""An inverse autoregressive flow as a guide, AutoIAFNormal."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoIAFNormal

from programs.program import Program

FEATURES = 6


def model(x):
    with pyro.plate("features", FEATURES):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("items", len(x)):
        pyro.sample("x", dist.Normal(x.new_ones(1) * z.tanh().sum(), 0.5), obs=x)


def make():
    x = 1 + 0.5 * torch.randn(40)
    return Program(model, AutoIAFNormal(model, hidden_dim=[12]), lambda step: (x,))
