"""Counts of genes in single cells: how deep a cell was read, and how active its programs are.

A cell with many counts was read deeply, or its programs are active: the counts leave that open, so these
latents are correlated given a cell. The guide's one normal per cell has that, also for cells that it was not
trained on; the exact posterior, on a grid, says how well. With a decoder that is learned, and beside
scvi-tools' LinearSCVI: `benchmarks/single_cell.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
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
from flax import nnx
from numpyro.infer import SVI, Trace_ELBO

from numpyro_impl import AutoAmortizedNormal, predict

as_float = [jnp.asarray(v, jnp.float32) for v in (LOADINGS, BASE, train_counts, new_counts)]
loadings, base, counts, new = as_float


def model(counts, batch_size=None):
    """Counts (B, G), negative binomial around a library size times exp(base + loadings z), z (B, K)."""
    with numpyro.plate("cells", len(counts), subsample_size=batch_size):
        library = numpyro.sample("library", dist.LogNormal(0.0, DEPTH_SD))
        z = numpyro.sample("z", dist.Normal(jnp.zeros(K), 1.0).to_event(1))
        log_mean = jnp.log(library)[..., None] + base + z @ loadings.mT
        noise = dist.NegativeBinomialLogits(DISPERSION, log_mean - jnp.log(DISPERSION))
        batch = numpyro.subsample(counts, event_dim=1)
        numpyro.sample("counts", noise.to_event(1), obs=batch)


def log_counts(counts, batch_size=None):
    """What the encoder reads."""
    return jnp.log1p(counts)


encoder = nnx.Sequential(nnx.Linear(GENES, 32, rngs=nnx.Rngs(0)), nnx.silu)
guide = AutoAmortizedNormal(model, "cells", encoder, features=log_counts)
svi = SVI(model, guide, numpyro.optim.Adam(5e-3), Trace_ELBO())
fit = svi.run(jax.random.key(0), 1000, counts, batch_size=100, progress_bar=False)

normal = guide.posterior(fit.params, new)  # of log library, z_1 and z_2, for each new cell
draws = predict(jax.random.key(1), fit.params, model, guide, new, plate="cells", num_samples=100)
tell(np.asarray(normal.loc), np.asarray(normal.covariance_matrix), np.asarray(draws["counts"]))
