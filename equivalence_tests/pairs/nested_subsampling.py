"""Nested plates, both of them subsampled, with local latents and a scale handler."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(11)
y = rng.normal(size=(6, 8)) + rng.normal(size=(6, 1))


def pyro_model(y):
    mu = pyro.sample("mu", pdist.Normal(0.0, 3.0))
    with pyro.plate("groups", 6, subsample_size=3, dim=-2) as g:
        theta = pyro.sample("theta", pdist.Normal(mu, 1.0))
        with pyro.plate("members", 8, subsample_size=4, dim=-1) as i, pyro.poutine.scale(scale=0.5):
            pyro.sample("y", pdist.Normal(theta, 0.7), obs=y[g][:, i])


def pyro_guide(y):
    loc = pyro.param("loc", torch.tensor(0.1))
    local = pyro.param("local", torch.zeros(6))
    pyro.sample("mu", pdist.Normal(loc, 0.4))
    with pyro.plate("groups", 6, subsample_size=3, dim=-2) as g:
        pyro.sample("theta", pdist.Normal(local[g][:, None], 0.5))


def numpyro_model(y):
    mu = numpyro.sample("mu", ndist.Normal(0.0, 3.0))
    with numpyro.plate("groups", 6, subsample_size=3, dim=-2) as g:
        theta = numpyro.sample("theta", ndist.Normal(mu, 1.0))
        with numpyro.plate("members", 8, subsample_size=4, dim=-1) as i:  # noqa: SIM117
            with numpyro.handlers.scale(scale=0.5):
                numpyro.sample("y", ndist.Normal(theta, 0.7), obs=y[g][:, i])


def numpyro_guide(y):
    loc = numpyro.param("loc", 0.1)
    local = numpyro.param("local", jnp.zeros(6))
    numpyro.sample("mu", ndist.Normal(loc, 0.4))
    with numpyro.plate("groups", 6, subsample_size=3, dim=-2) as g:
        numpyro.sample("theta", ndist.Normal(local[g][:, None], 0.5))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide), NumpyroProgram(numpyro_model, numpyro_guide), args=(y,)
)
CASE_SWAPPED = Case(
    NumpyroProgram(numpyro_model, numpyro_guide), PyroProgram(pyro_model, pyro_guide), args=(y,)
)
