"""A mixture of normals, its labels summed out by TraceEnum_ELBO."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta

from programs.program import Program

ITEMS, KINDS = 200, 3


@config_enumerate
def model(x):
    weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(KINDS)))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
    with pyro.plate("kinds", KINDS):
        locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
    with pyro.plate("items", len(x)):
        kind = pyro.sample("kind", dist.Categorical(weights))
        pyro.sample("x", dist.Normal(locs[kind], scale), obs=x)


def make():
    x = torch.randn(ITEMS) + torch.tensor([-4.0, 0.0, 4.0])[torch.arange(ITEMS) % 3]
    guide = AutoDelta(poutine.block(model, expose=["weights", "locs", "scale"]))
    return Program(model, guide, lambda step: (x,), TraceEnum_ELBO(max_plate_nesting=1))
