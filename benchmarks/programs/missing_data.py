"""Missing entries left out by an index, by a mask and by `obs_mask`; AutoNormal."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal

from programs.program import Program

ITEMS, FEATURES = 60, 3


def model(x, seen, y):
    weights = pyro.sample("weights", dist.Normal(0.0, 1.0).expand([FEATURES]).to_event(1))
    mean = x @ weights
    with pyro.plate("seen", int(seen.sum())):
        pyro.sample("by index", dist.Normal(mean[seen], 1.0), obs=y[seen])
    with pyro.plate("items", len(x)):
        with poutine.mask(mask=seen):
            pyro.sample("by mask", dist.StudentT(4.0, mean, 1.0), obs=y.nan_to_num())
        pyro.sample("imputed", dist.Normal(mean, 0.5), obs=y.nan_to_num(), obs_mask=seen)


def make():
    x, seen = torch.randn(ITEMS, FEATURES), torch.rand(ITEMS) < 0.7
    y = (x.sum(-1) + torch.randn(ITEMS)).masked_fill(~seen, torch.nan)
    return Program(model, AutoNormal(model), lambda step: (x, seen, y))
