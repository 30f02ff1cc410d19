"""Gaussian processes with almost no jitter: by covariance, by Cholesky factor, by precision."""

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

rng = np.random.default_rng(7)
x = np.sort(rng.uniform(0.0, 4.0, size=9))
y = np.sin(x) + 0.1 * rng.normal(size=9)


def pyro_model(x, y, jitter):
    length = pyro.sample("length", pdist.LogNormal(0.0, 0.3))
    variance = pyro.sample("variance", pdist.LogNormal(0.0, 0.5))
    noise = pyro.sample("noise", pdist.HalfNormal(1.0))
    distance = (x[:, None] - x[None, :]) / length
    kernel = variance * torch.exp(-0.5 * distance**2)
    covariance = kernel + (noise**2 + jitter) * torch.eye(len(x))
    pyro.sample("y", pdist.MultivariateNormal(torch.zeros(len(x)), covariance), obs=y)


def numpyro_model(x, y, jitter):
    length = numpyro.sample("length", ndist.LogNormal(0.0, 0.3))
    variance = numpyro.sample("variance", ndist.LogNormal(0.0, 0.5))
    noise = numpyro.sample("noise", ndist.HalfNormal(1.0))
    distance = (x[:, None] - x[None, :]) / length
    kernel = variance * jnp.exp(-0.5 * distance**2)
    covariance = kernel + (noise**2 + jitter) * jnp.eye(len(x))
    numpyro.sample(
        "y", ndist.MultivariateNormal(jnp.zeros(len(x)), covariance_matrix=covariance), obs=y
    )


def numpyro_cholesky_model(x, y, jitter):
    length = numpyro.sample("length", ndist.LogNormal(0.0, 0.3))
    variance = numpyro.sample("variance", ndist.LogNormal(0.0, 0.5))
    noise = numpyro.sample("noise", ndist.HalfNormal(1.0))
    distance = (x[:, None] - x[None, :]) / length
    kernel = variance * jnp.exp(-0.5 * distance**2)
    tril = jnp.linalg.cholesky(kernel + (noise**2 + jitter) * jnp.eye(len(x)))
    numpyro.sample("y", ndist.MultivariateNormal(jnp.zeros(len(x)), scale_tril=tril), obs=y)


def numpyro_precision_model(x, y, jitter):
    length = numpyro.sample("length", ndist.LogNormal(0.0, 0.3))
    variance = numpyro.sample("variance", ndist.LogNormal(0.0, 0.5))
    noise = numpyro.sample("noise", ndist.HalfNormal(1.0))
    distance = (x[:, None] - x[None, :]) / length
    kernel = variance * jnp.exp(-0.5 * distance**2)
    precision = jnp.linalg.inv(kernel + (noise**2 + jitter) * jnp.eye(len(x)))
    numpyro.sample(
        "y", ndist.MultivariateNormal(jnp.zeros(len(x)), precision_matrix=precision), obs=y
    )


def pyro_latent_model(x, y, jitter):
    """The function is latent, its covariance all but singular."""
    length = pyro.sample("length", pdist.LogNormal(0.5, 0.3))
    kernel = torch.exp(-0.5 * ((x[:, None] - x[None, :]) / length) ** 2)
    tril = torch.linalg.cholesky(kernel + jitter * torch.eye(len(x)))
    f = pyro.sample("f", pdist.MultivariateNormal(torch.zeros(len(x)), scale_tril=tril))
    pyro.sample("y", pdist.Normal(f, 0.2).to_event(1), obs=y)


def numpyro_latent_model(x, y, jitter):
    length = numpyro.sample("length", ndist.LogNormal(0.5, 0.3))
    kernel = jnp.exp(-0.5 * ((x[:, None] - x[None, :]) / length) ** 2)
    tril = jnp.linalg.cholesky(kernel + jitter * jnp.eye(len(x)))
    f = numpyro.sample("f", ndist.MultivariateNormal(jnp.zeros(len(x)), scale_tril=tril))
    numpyro.sample("y", ndist.Normal(f, 0.2).to_event(1), obs=y)


CASE = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(x, y, 1e-10))
CASE_CHOLESKY = Case(
    PyroProgram(pyro_model), NumpyroProgram(numpyro_cholesky_model), args=(x, y, 1e-8)
)
CASE_PRECISION = Case(
    PyroProgram(pyro_model), NumpyroProgram(numpyro_precision_model), args=(x, y, 1e-6)
)
CASE_SINGULAR = Case(
    PyroProgram(pyro_latent_model), NumpyroProgram(numpyro_latent_model), args=(x, y, 3e-14)
)
