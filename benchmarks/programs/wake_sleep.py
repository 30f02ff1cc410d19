"""Reweighted wake-sleep of a model with a discrete latent; a schedule of the learning rate."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import ReweightedWakeSleep

from programs.program import Program

ITEMS = 40


def model(x):
    locs = pyro.param("locs", torch.tensor([-0.5, 0.5]))
    with pyro.plate("items", len(x)):
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Normal(locs[kind.long()], 1.0), obs=x)


def guide(x):
    slope = pyro.param("slope", torch.tensor(0.1))
    with pyro.plate("items", len(x)):
        pyro.sample("kind", dist.Bernoulli(logits=slope * x))


def make():
    x = torch.randn(ITEMS) + 2 * (torch.arange(ITEMS) % 2) - 1
    elbo = ReweightedWakeSleep(num_particles=4, max_plate_nesting=1)
    optim = lambda: pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.02}, "gamma": 0.99}
    )
    return Program(model, guide, lambda step: (x,), elbo, optim)
