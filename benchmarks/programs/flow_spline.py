"""A density fitted by two rational splines, without a latent: data by an index of a boolean mask in each."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import Spline

from programs.program import Program

ITEMS = 120


def make():
    x = torch.cat([torch.randn(ITEMS // 2, 2) - 2, 0.5 * torch.randn(ITEMS // 2, 2) + 1])
    splines = [Spline(2, count_bins=8, bound=4.0) for _ in range(2)]

    def model(x):
        for i, spline in enumerate(splines):
            pyro.module(f"spline_{i}", spline)
            spline.clear_cache()
        base = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
        with pyro.plate("items", len(x)):
            pyro.sample("x", dist.TransformedDistribution(base, splines), obs=x)

    return Program(model, lambda x: None, lambda step: (x,))
