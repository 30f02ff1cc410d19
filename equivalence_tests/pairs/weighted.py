"""Weights of observations: scales that are arrays, over a subsample, with a mask, and of a latent."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro import handlers
from pyro import poutine

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(5)
y, seen = rng.normal(size=(2, 6)), rng.random((2, 6)) < 0.7
weights = np.exp(rng.normal(size=6))


def pyro_model(y, seen, weights):
    with pyro.plate("groups", 2, dim=-2), poutine.scale(scale=torch.tensor([[1.5], [0.5]])):
        mean = pyro.sample("mean", pdist.Normal(0.0, 2.0))
        with pyro.plate("items", 6, subsample_size=3, dim=-1) as i:
            shown, scaled = poutine.mask(mask=seen[:, i]), poutine.scale(scale=weights[i])
            with shown, scaled:
                pyro.sample("y", pdist.Normal(mean, 1.0), obs=y[:, i])


def pyro_guide(y, seen, weights):
    loc = pyro.param("loc", torch.zeros(2, 1))
    with pyro.plate("groups", 2, dim=-2), poutine.scale(scale=torch.tensor([[1.5], [0.5]])):
        pyro.sample("mean", pdist.Normal(loc, 0.5))


def numpyro_model(y, seen, weights):
    with numpyro.plate("groups", 2, dim=-2), handlers.scale(scale=jnp.array([[1.5], [0.5]])):
        mean = numpyro.sample("mean", ndist.Normal(0.0, 2.0))
        with numpyro.plate("items", 6, subsample_size=3, dim=-1) as i:
            shown, scaled = handlers.mask(mask=seen[:, i]), handlers.scale(scale=weights[i])
            with shown, scaled:
                numpyro.sample("y", ndist.Normal(mean, 1.0), obs=y[:, i])


def numpyro_guide(y, seen, weights):
    loc = numpyro.param("loc", jnp.zeros((2, 1)))
    with numpyro.plate("groups", 2, dim=-2), handlers.scale(scale=jnp.array([[1.5], [0.5]])):
        numpyro.sample("mean", ndist.Normal(loc, 0.5))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(y, seen, weights),
)
