"""A small Bayesian neural network by PyroModule, low-rank guide, three particles one after the other."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoLowRankMultivariateNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn

from programs.program import Program


class Network(PyroModule):
    def __init__(self):
        super().__init__()
        self.first, self.second = PyroModule[nn.Linear](1, 16), PyroModule[nn.Linear](16, 1)
        for layer, (inputs, outputs) in ((self.first, (1, 16)), (self.second, (16, 1))):
            prior = dist.Normal(0.0, 1.0)
            layer.weight = PyroSample(prior.expand([outputs, inputs]).to_event(2))
            layer.bias = PyroSample(prior.expand([outputs]).to_event(1))

    def forward(self, x, y):
        mean = self.second(self.first(x).tanh()).squeeze(-1)
        with pyro.plate("items", len(x)):
            pyro.sample("y", dist.Normal(mean, 0.1), obs=y)


def make():
    x = torch.linspace(-2, 2, 80)[:, None]
    y = torch.sin(2 * x[:, 0]) + 0.1 * torch.randn(80)
    model = Network()
    guide = AutoLowRankMultivariateNormal(model, rank=3)
    return Program(model, guide, lambda step: (x, y), Trace_ELBO(num_particles=3))
