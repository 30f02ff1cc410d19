"""A simulator without a density, fitted by the energy distance; SGD with momentum, clipped gradients."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import EnergyDistance
from pyro.infer.autoguide import AutoNormal

from programs.program import Program

ITEMS = 30


def model(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("items", ITEMS):
        pyro.sample("x", dist.Stable(1.8, 0.0, scale, loc), obs=x)


def make():
    x = 1 + torch.randn(ITEMS)
    optim = lambda: pyro.optim.SGD({"lr": 0.01, "momentum": 0.9}, {"clip_norm": 5.0})
    elbo = EnergyDistance(num_particles=8, max_plate_nesting=1)
    return Program(model, AutoNormal(model), lambda step: (x,), elbo, optim)
