"""A discrete draw in the guide by the score function, beside a continuous one."""

import pyro
import pyro.distributions as dist
import torch

from programs.program import Program

ITEMS = 60


def model(x):
    switch = pyro.sample("switch", dist.Bernoulli(0.4))
    slope = pyro.sample("slope", dist.Normal(switch, 1.0))
    with pyro.plate("items", len(x)):
        group = pyro.sample("group", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
        pyro.sample("x", dist.Normal(slope + group, 1.0), obs=x)


def guide(x):
    p = pyro.param("p", torch.tensor(0.5), constraint=dist.constraints.unit_interval)
    pyro.sample("switch", dist.Bernoulli(p))
    pyro.sample("slope", dist.Normal(pyro.param("loc", torch.tensor(0.1)), 0.5))
    logits = pyro.param("logits", torch.zeros(3))
    with pyro.plate("items", len(x)):
        pyro.sample("group", dist.Categorical(logits=logits + 0.1 * x[:, None]))


def make():
    x = torch.randn(ITEMS) + 1
    return Program(model, guide, lambda step: (x,))
