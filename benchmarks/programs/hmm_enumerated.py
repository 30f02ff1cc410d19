"""A hidden Markov model of discrete states, summed out along the time by TraceEnum_ELBO."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta

from programs.program import Program

SERIES, STEPS, STATES = 8, 6, 4


@config_enumerate
def model(y):
    with pyro.plate("states", STATES):
        moves = pyro.sample("moves", dist.Dirichlet(torch.ones(STATES)))
        means = pyro.sample("means", dist.Normal(0.0, 3.0))
    with pyro.plate("series", len(y)):
        state = torch.tensor(0)
        for t in pyro.markov(range(STEPS)):
            state = pyro.sample(f"state_{t}", dist.Categorical(moves[state]))
            pyro.sample(f"y_{t}", dist.Normal(means[state], 1.0), obs=y[:, t])


def make():
    y = 2 * torch.randn(SERIES, STEPS)
    guide = AutoDelta(poutine.block(model, expose=["moves", "means"]))
    return Program(model, guide, lambda step: (y,), TraceEnum_ELBO(max_plate_nesting=1))
