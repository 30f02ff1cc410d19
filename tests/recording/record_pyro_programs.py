"""Pyro programs of several tests of records, and the sessions that run them."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch.distributions import constraints

from pyro_impl.recording.program import Program
from twinplate.records.record import Given, Settings


def session(model, guide=None, precision="float64", **settings):
    return Program(model, guide).session(precision, Settings(**settings))


def sampled(model, *args, guide=None, **settings):
    run = session(model, guide, **settings).sample(1, Given(), args, {})
    assert run.failure is None, run.failure
    return run


def ran(model, given, *args, guide=None, precision="float64", **settings):
    run = session(model, guide, precision, **settings).run(given, args, {})
    assert run.failure is None, run.failure
    return run


def local_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def local_guide(x):
    loc = pyro.param("loc", lambda: torch.zeros(len(x)))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, scale))


Z = np.array([[0.5, -1.0, 1.5], [0.1, 0.2, -0.3]])
