"""Counts of genes in single cells: how deep a cell was read, and how active its programs are.

A cell with many counts was read deeply, or its programs are active: the counts leave that open, so these
latents are correlated given a cell. The guide's one normal per cell has that, also for cells that it was not
trained on; the exact posterior, on a grid, says how well. With a decoder that is learned, and beside
scvi-tools' LinearSCVI: `benchmarks/single_cell.py`.
"""

import pyro
import pyro.distributions as dist
import torch
from cells_data import (
    BASE,
    DEPTH_SD,
    DISPERSION,
    GENES,
    LOADINGS,
    K,
    new_counts,
    tell,
    train_counts,
)
from pyro.infer import SVI, Trace_ELBO

from pyro_impl import AutoAmortizedNormal, predict

as_float = [
    torch.tensor(v, dtype=torch.float32) for v in (LOADINGS, BASE, train_counts, new_counts)
]
loadings, base, counts, new = as_float


def model(counts, batch_size=None):
    """Counts (B, G), negative binomial around a library size times exp(base + loadings z), z (B, K)."""
    with pyro.plate("cells", len(counts), subsample_size=batch_size):
        library = pyro.sample("library", dist.LogNormal(0.0, DEPTH_SD))
        z = pyro.sample("z", dist.Normal(torch.zeros(K), 1.0).to_event(1))
        log_mean = library.log()[..., None] + base + z @ loadings.mT
        noise = dist.NegativeBinomial(DISPERSION, logits=log_mean - torch.tensor(DISPERSION).log())
        batch = pyro.subsample(counts, event_dim=1)
        pyro.sample("counts", noise.to_event(1), obs=batch)


def log_counts(counts, batch_size=None):
    """What the encoder reads."""
    return torch.log1p(counts)


pyro.set_rng_seed(0)
encoder = torch.nn.Sequential(torch.nn.Linear(GENES, 32), torch.nn.SiLU())
guide = AutoAmortizedNormal(model, "cells", encoder, features=log_counts)
svi = SVI(model, guide, pyro.optim.Adam({"lr": 5e-3}), Trace_ELBO())
for _ in range(1000):
    svi.step(counts, batch_size=100)

with torch.no_grad():
    normal = guide.posterior(new)  # of log library, z_1 and z_2, for each new cell
    draws = predict(model, guide, new, plate="cells", num_samples=100)
tell(normal.loc.numpy(), normal.covariance_matrix.numpy(), draws["counts"].numpy())
