"""A discrete site in the guide, enumerated there by TraceEnum_ELBO."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

from programs.program import Program

ITEMS = 60


def model(x):
    locs = pyro.param("locs", torch.tensor([-1.0, 1.0]))
    with pyro.plate("items", len(x)):
        kind = pyro.sample("kind", dist.Bernoulli(0.4))
        pyro.sample("x", dist.Normal(locs[kind.long()], 1.0), obs=x)


@config_enumerate
def guide(x):
    slope = pyro.param("slope", torch.tensor(0.5))
    with pyro.plate("items", len(x)):
        pyro.sample("kind", dist.Bernoulli(logits=slope * x))


def make():
    x = torch.randn(ITEMS) + 2 * (torch.arange(ITEMS) % 2) - 1
    return Program(model, guide, lambda step: (x,), TraceEnum_ELBO(max_plate_nesting=1))
