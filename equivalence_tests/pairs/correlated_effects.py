"""Correlated intercepts and slopes: an LKJ prior, by Cholesky factor and by covariance."""

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

G = 4
rng = np.random.default_rng(22)
group = rng.integers(0, G, size=12)
x = rng.normal(size=12)
y = 0.5 + 0.3 * x + 0.4 * group + 0.2 * rng.normal(size=12)


def pyro_model(group, x, y):
    corr = pyro.sample("corr", pdist.LKJCholesky(2, 2.0))
    scales = pyro.sample("scales", pdist.HalfCauchy(torch.ones(2)).to_event(1))
    tril = scales[:, None] * corr
    with pyro.plate("groups", G):
        effects = pyro.sample("effects", pdist.MultivariateNormal(torch.zeros(2), scale_tril=tril))
    with pyro.plate("data", len(y)):
        mean = effects[group, 0] + effects[group, 1] * x
        pyro.sample("y", pdist.Normal(mean, 0.3), obs=y)


def numpyro_model(group, x, y):
    corr = numpyro.sample("corr", ndist.LKJCholesky(2, 2.0))
    scales = numpyro.sample("scales", ndist.HalfCauchy(jnp.ones(2)).to_event(1))
    tril = scales[:, None] * corr
    with numpyro.plate("groups", G):
        effects = numpyro.sample("effects", ndist.MultivariateNormal(jnp.zeros(2), scale_tril=tril))
    with numpyro.plate("data", len(y)):
        mean = effects[group, 0] + effects[group, 1] * x
        numpyro.sample("y", ndist.Normal(mean, 0.3), obs=y)


def numpyro_covariance_model(group, x, y):
    corr = numpyro.sample("corr", ndist.LKJCholesky(2, 2.0))
    scales = numpyro.sample("scales", ndist.HalfCauchy(jnp.ones(2)).to_event(1))
    covariance = jnp.outer(scales, scales) * (corr @ corr.T)
    with numpyro.plate("groups", G):
        effects = numpyro.sample(
            "effects", ndist.MultivariateNormal(jnp.zeros(2), covariance_matrix=covariance)
        )
    with numpyro.plate("data", len(y)):
        mean = effects[group, 0] + effects[group, 1] * x
        numpyro.sample("y", ndist.Normal(mean, 0.3), obs=y)


def pyro_guide(group, x, y):
    corr = pyro.param("corr_mode", torch.eye(2), constraint=pdist.constraints.corr_cholesky)
    scales = pyro.param("scale_loc", torch.zeros(2))
    loc = pyro.param("effect_loc", torch.zeros(G, 2))
    tril = pyro.param(
        "effect_tril", 0.4 * torch.eye(2), constraint=pdist.constraints.lower_cholesky
    )
    pyro.sample("corr", pdist.Delta(corr, event_dim=2))
    pyro.sample("scales", pdist.LogNormal(scales, 0.3).to_event(1))
    with pyro.plate("groups", G):
        pyro.sample("effects", pdist.MultivariateNormal(loc, scale_tril=tril))


def numpyro_guide(group, x, y):
    corr = numpyro.param("corr_mode", jnp.eye(2), constraint=ndist.constraints.corr_cholesky)
    scales = numpyro.param("scale_loc", jnp.zeros(2))
    loc = numpyro.param("effect_loc", jnp.zeros((G, 2)))
    tril = numpyro.param(
        "effect_tril", 0.4 * jnp.eye(2), constraint=ndist.constraints.lower_cholesky
    )
    numpyro.sample("corr", ndist.Delta(corr, event_dim=2))
    numpyro.sample("scales", ndist.LogNormal(scales, 0.3).to_event(1))
    with numpyro.plate("groups", G):
        numpyro.sample("effects", ndist.MultivariateNormal(loc, scale_tril=tril))


args = (group, x, y)
CASE = Case(
    PyroProgram(pyro_model, pyro_guide), NumpyroProgram(numpyro_model, numpyro_guide), args=args
)
CASE_COVARIANCE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_covariance_model, numpyro_guide),
    args=args,
)
CASE_MCMC = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=args)
