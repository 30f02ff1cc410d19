"""Discrete draws with a baseline of their own under TraceGraph_ELBO."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceGraph_ELBO
from torch import nn

from programs.program import Program

ITEMS = 30


def make():
    x, baseline = torch.randn(ITEMS) + 1, nn.Linear(1, 1)

    def model(x):
        probability = pyro.param(
            "probability", torch.tensor(0.4), constraint=dist.constraints.unit_interval
        )
        with pyro.plate("items", len(x)):
            kind = pyro.sample("kind", dist.Bernoulli(probability))
            pyro.sample("x", dist.Normal(2 * kind, 1.0), obs=x)

    def guide(x):
        pyro.module("baseline", baseline)
        slope = pyro.param("slope", torch.tensor(0.1))
        with pyro.plate("items", len(x)):
            own = {
                "nn_baseline": lambda x: baseline(x[:, None]).squeeze(-1),
                "nn_baseline_input": x,
            }
            pyro.sample("kind", dist.Bernoulli(logits=slope * x), infer={"baseline": own})

    return Program(model, guide, lambda step: (x,), TraceGraph_ELBO())
