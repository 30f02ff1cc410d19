"""Logistic regression on subsampled rows: the plate chooses them, and scales the likelihood."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from jax.scipy.special import expit

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(2)
x = rng.normal(size=(20, 3))
y = (rng.uniform(size=20) < 0.4).astype(float)


def pyro_model(x, y):
    w = pyro.sample("w", pdist.Normal(torch.zeros(3), 1.5).to_event(1))
    b = pyro.sample("b", pdist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), subsample_size=8) as i:
        logits = x[i] @ w + b
        pyro.sample("y", pdist.Bernoulli(logits=logits), obs=y[i])


def pyro_guide(x, y):
    w_loc = pyro.param("w_loc", torch.zeros(3))
    w_scale = pyro.param("w_scale", 0.3 * torch.eye(3), constraint=pdist.constraints.lower_cholesky)
    b_loc = pyro.param("b_loc", torch.tensor(0.2))
    pyro.sample("w", pdist.MultivariateNormal(w_loc, scale_tril=w_scale))
    pyro.sample("b", pdist.Normal(b_loc, 0.5))


def numpyro_model(x, y):
    w = numpyro.sample("w", ndist.Normal(jnp.zeros(3), 1.5).to_event(1))
    b = numpyro.sample("b", ndist.Normal(0.0, 1.0))
    with numpyro.plate("data", len(x), subsample_size=8) as i:
        logits = x[i] @ w + b
        numpyro.sample("y", ndist.Bernoulli(logits=logits), obs=y[i])


def numpyro_guide(x, y):
    w_loc = numpyro.param("w_loc", jnp.zeros(3))
    w_scale = numpyro.param(
        "w_scale", 0.3 * jnp.eye(3), constraint=ndist.constraints.lower_cholesky
    )
    b_loc = numpyro.param("b_loc", 0.2)
    numpyro.sample("w", ndist.MultivariateNormal(w_loc, scale_tril=w_scale))
    numpyro.sample("b", ndist.Normal(b_loc, 0.5))


def numpyro_model_probs(x, y):
    """Says the same with probabilities."""
    w = numpyro.sample("w", ndist.Normal(jnp.zeros(3), 1.5).to_event(1))
    b = numpyro.sample("b", ndist.Normal(0.0, 1.0))
    with numpyro.plate("data", len(x), subsample_size=8) as i:
        probs = expit(x[i] @ w + b)
        numpyro.sample("y", ndist.Bernoulli(probs=probs), obs=y[i])


pyro_program = PyroProgram(pyro_model, pyro_guide)

CASE = Case(pyro_program, NumpyroProgram(numpyro_model, numpyro_guide), args=(x, y))
CASE_PROBS = Case(pyro_program, NumpyroProgram(numpyro_model_probs, numpyro_guide), args=(x, y))
