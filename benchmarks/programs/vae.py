"""A variational autoencoder with batch normalisation and dropout, on mini-batches."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from programs.program import Program

ITEMS, BATCH, FEATURES, LATENT = 256, 64, 20, 4


def make():
    encoder = nn.Sequential(
        nn.Linear(FEATURES, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(64, 2 * LATENT),
    )
    decoder = nn.Sequential(nn.Linear(LATENT, 64), nn.ReLU(), nn.Linear(64, FEATURES))
    x = (torch.rand(ITEMS, FEATURES) < 0.3).to(torch.get_default_dtype())

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("items", ITEMS, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("items", ITEMS, subsample_size=len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return Program(model, guide, lambda step: (x[step % 4 * BATCH :][:BATCH],))
