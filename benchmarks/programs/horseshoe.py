"""Regression with a horseshoe prior, AutoMultivariateNormal, four vectorised particles, ClippedAdam."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal

from programs.program import Program

ITEMS, FEATURES = 100, 10


def model(x, y):
    everywhere = pyro.sample("everywhere", dist.HalfCauchy(1.0))
    local = pyro.sample("local", dist.HalfCauchy(1.0).expand([FEATURES]).to_event(1))
    raw = pyro.sample("raw", dist.Normal(0.0, 1.0).expand([FEATURES]).to_event(1))
    weights = raw * local * everywhere[..., None]
    with pyro.plate("items", ITEMS):
        pyro.sample("y", dist.Normal((weights * x).sum(-1), 0.5), obs=y)


def make():
    x = torch.randn(ITEMS, FEATURES)
    y = x[:, 0] - 2 * x[:, 1] + 0.5 * torch.randn(ITEMS)
    elbo = Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    optim = lambda: pyro.optim.ClippedAdam({"lr": 0.01, "lrd": 0.999})
    return Program(model, AutoMultivariateNormal(model), lambda step: (x, y), elbo, optim)
