"""A continuous state-space model, fifty steps of a loop, AutoDiagonalNormal-like guide by hand."""

import pyro
import pyro.distributions as dist
import torch

from programs.program import Program

STEPS = 50


def model(y):
    drift = pyro.sample("drift", dist.Normal(0.9, 0.1))
    noise = pyro.sample("noise", dist.LogNormal(-1.0, 0.5))
    state = y.new_zeros(())
    for t in pyro.markov(range(len(y))):
        state = pyro.sample(f"z_{t}", dist.Normal(drift * state, noise))
        pyro.sample(f"y_{t}", dist.Normal(state, 0.3), obs=y[t])


def guide(y):
    for name, start in (("drift", 0.9), ("noise", -1.0)):
        loc = pyro.param(f"{name}_loc", torch.tensor(start))
        scale = pyro.param(f"{name}_scale", torch.tensor(0.1), constraint=dist.constraints.positive)
        pyro.sample(
            name, dist.Normal(loc, scale) if name == "drift" else dist.LogNormal(loc, scale)
        )
    loc = pyro.param("z_loc", torch.zeros(STEPS))
    scale = pyro.param("z_scale", torch.full((STEPS,), 0.2), constraint=dist.constraints.positive)
    for t in pyro.markov(range(len(y))):
        pyro.sample(f"z_{t}", dist.Normal(loc[t], scale[t]))


def make():
    y = torch.randn(STEPS).cumsum(0) * 0.3
    return Program(model, guide, lambda step: (y,))
