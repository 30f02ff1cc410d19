"""Partial pooling: an intercept and a slope for each group, AutoNormal."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal

from programs.program import Program

GROUPS, ITEMS = 12, 240


def model(x, group, y):
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    scale = pyro.sample("scale", dist.HalfNormal(1.0).expand([2]).to_event(1))
    noise = pyro.sample("noise", dist.HalfCauchy(1.0))
    with pyro.plate("groups", GROUPS):
        own = pyro.sample("own", dist.Normal(loc, scale).to_event(1))
    with pyro.plate("items", len(x)):
        pyro.sample("y", dist.Normal(own[group, 0] + own[group, 1] * x, noise), obs=y)


def make():
    group, x = torch.arange(ITEMS) % GROUPS, torch.randn(ITEMS)
    y = torch.randn(GROUPS)[group] + torch.randn(GROUPS)[group] * x + 0.3 * torch.randn(ITEMS)
    return Program(model, AutoNormal(model), lambda step: (x, group, y))
