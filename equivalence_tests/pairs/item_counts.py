"""Counts of cells with a contrast, correlated components and globals: one normal per item from an encoder.

A negative binomial with a library size known from the data, a contrast per item, and a dispersion of all.
"""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro.infer import autoguide as numpyro_auto
from pyro.infer import autoguide as pyro_auto
from torch import nn

import numpyro_impl
import pyro_impl
from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

N, D, K = 7, 4, 2
rng = np.random.default_rng(3)
LOADINGS = 0.4 * rng.normal(size=(D, K))
counts = rng.poisson(rng.gamma(3.0, 1.0, size=(N, 1)) * np.ones(D)).astype(float)


def pyro_model(counts, batch_size=None):
    loadings = torch.tensor(LOADINGS).to(counts)
    dispersion = pyro.sample("dispersion", pdist.LogNormal(0.0, 0.5))
    with pyro.plate("cells", len(counts), subsample_size=batch_size, dim=-1):
        y = pyro.subsample(counts, event_dim=1)
        contrast = pyro.sample("contrast", pdist.LogNormal(0.0, 0.3))
        with pyro.plate("components", K, dim=-2):
            a = pyro.sample("a", pdist.Normal(0.0, 1.0))
        size = y.sum(-1, keepdim=True) + 1
        mean = contrast[..., None] * torch.softmax(pyro_impl.items_first(a) @ loadings.mT, -1)
        rate = dispersion[..., None] + 0.1
        noise = pdist.NegativeBinomial(rate, logits=(mean * size / rate).log())
        pyro.sample("y", noise.to_event(1), obs=y)


def numpyro_model(counts, batch_size=None):
    loadings = jnp.asarray(LOADINGS, counts.dtype)
    dispersion = numpyro.sample("dispersion", ndist.LogNormal(0.0, 0.5))
    with numpyro.plate("cells", len(counts), subsample_size=batch_size, dim=-1):
        y = numpyro.subsample(counts, event_dim=1)
        contrast = numpyro.sample("contrast", ndist.LogNormal(0.0, 0.3))
        with numpyro.plate("components", K, dim=-2):
            a = numpyro.sample("a", ndist.Normal(0.0, 1.0))
        size = y.sum(-1, keepdims=True) + 1
        scores = numpyro_impl.items_first(a) @ loadings.mT
        shares = jnp.exp(scores) / jnp.exp(scores).sum(-1, keepdims=True)
        mean = contrast[..., None] * shares
        rate = dispersion[..., None] + 0.1
        noise = ndist.NegativeBinomialLogits(rate, jnp.log(mean * size / rate))
        numpyro.sample("y", noise.to_event(1), obs=y)


def log_counts_torch(counts, batch_size=None):
    return torch.log1p(counts)


def log_counts_jax(counts, batch_size=None):
    return jnp.log1p(counts)


def make_pyro(**given):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(D, 5), nn.Tanh())
    return pyro_model, pyro_impl.AutoAmortizedNormal(
        pyro_model, "cells", encoder, features=log_counts_torch, **given
    )


def make_numpyro(**given):
    from flax import nnx

    encoder = nnx.Sequential(nnx.Linear(D, 5, rngs=nnx.Rngs(0)), jnp.tanh)
    return numpyro_model, numpyro_impl.AutoAmortizedNormal(
        numpyro_model, "cells", encoder, features=log_counts_jax, **given
    )


def make_pyro_low_rank():
    return make_pyro(covariance="low_rank", rank=2, global_guide=pyro_auto.AutoDelta)


def make_numpyro_low_rank():
    return make_numpyro(covariance="low_rank", rank=2, global_guide=numpyro_auto.AutoDelta)


def make_pyro_blocks():
    return make_pyro(covariance="blocks")


def make_numpyro_blocks():
    return make_numpyro(covariance="blocks")


def make_pyro_items():
    return pyro_model, pyro_impl.AutoAmortizedNormal(pyro_model, "cells")


def make_numpyro_items():
    return numpyro_model, numpyro_impl.AutoAmortizedNormal(numpyro_model, "cells")


CASE = Case(PyroProgram.build(make_pyro), NumpyroProgram.build(make_numpyro), args=(counts,))
CASE_MINI_BATCH = Case(
    PyroProgram.build(make_pyro), NumpyroProgram.build(make_numpyro), args=(counts, 3)
)
CASE_PARTICLES = Case(
    PyroProgram.build(make_pyro),
    NumpyroProgram.build(make_numpyro),
    args=(counts, 3),
    particles=3,
    vectorize_particles=True,
)
CASE_MEAN_FIELD = Case(
    PyroProgram.build(make_pyro),
    NumpyroProgram.build(make_numpyro),
    args=(counts,),
    loss="TraceMeanField_ELBO",
)
CASE_LOW_RANK = Case(
    PyroProgram.build(make_pyro_low_rank),
    NumpyroProgram.build(make_numpyro_low_rank),
    args=(counts,),
)
CASE_BLOCKS = Case(
    PyroProgram.build(make_pyro_blocks), NumpyroProgram.build(make_numpyro_blocks), args=(counts,)
)
CASE_PARAMETERS_OF_ITEMS = Case(
    PyroProgram.build(make_pyro_items),
    NumpyroProgram.build(make_numpyro_items),
    args=(counts, 3),
)
