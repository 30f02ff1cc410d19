"""A regression with partially pooled intercepts and heavy-tailed noise, and a mean-field guide."""

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

GROUPS = 4
rng = np.random.default_rng(1)
group = rng.integers(0, GROUPS, size=12)
x = rng.normal(size=(12, 2))
y = 0.5 * group + x @ np.array([0.8, -0.4]) + 0.3 * rng.standard_t(5, size=12)


def pyro_model(group, x, y):
    mu = pyro.sample("mu", pdist.Normal(0.0, 2.0))
    tau = pyro.sample("tau", pdist.HalfCauchy(1.0))
    sigma = pyro.sample("sigma", pdist.Exponential(1.5))
    beta = pyro.sample("beta", pdist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("groups", GROUPS):
        alpha = pyro.sample("alpha", pdist.Normal(mu, tau))
    mean = pyro.deterministic("mean", alpha[group] + x @ beta)
    with pyro.plate("data", len(y)):
        pyro.sample("y", pdist.StudentT(5.0, mean, sigma), obs=y)


def pyro_guide(group, x, y):
    positive = pdist.constraints.positive
    mu_loc = pyro.param("mu_loc", torch.tensor(0.1))
    mu_scale = pyro.param("mu_scale", torch.tensor(0.5), constraint=positive)
    tau_loc = pyro.param("tau_loc", torch.tensor(-0.3))
    sigma_rate = pyro.param("sigma_rate", torch.tensor(2.0), constraint=positive)
    beta_loc = pyro.param("beta_loc", torch.zeros(2))
    beta_scale = pyro.param("beta_scale", 0.4 * torch.ones(2), constraint=positive)
    alpha_loc = pyro.param("alpha_loc", torch.zeros(GROUPS))
    pyro.sample("mu", pdist.Normal(mu_loc, mu_scale))
    pyro.sample("tau", pdist.LogNormal(tau_loc, 0.3))
    pyro.sample("sigma", pdist.Gamma(3.0, sigma_rate))
    pyro.sample("beta", pdist.Normal(beta_loc, beta_scale).to_event(1))
    with pyro.plate("groups", GROUPS):
        pyro.sample("alpha", pdist.Normal(alpha_loc, 0.6))


def numpyro_model(group, x, y):
    mu = numpyro.sample("mu", ndist.Normal(0.0, 2.0))
    tau = numpyro.sample("tau", ndist.HalfCauchy(1.0))
    sigma = numpyro.sample("sigma", ndist.Exponential(1.5))
    beta = numpyro.sample("beta", ndist.Normal(jnp.zeros(2), 1.0).to_event(1))
    with numpyro.plate("groups", GROUPS):
        alpha = numpyro.sample("alpha", ndist.Normal(mu, tau))
    mean = numpyro.deterministic("mean", alpha[group] + x @ beta)
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", ndist.StudentT(5.0, mean, sigma), obs=y)


def numpyro_guide(group, x, y):
    positive = ndist.constraints.positive
    mu_loc = numpyro.param("mu_loc", 0.1)
    mu_scale = numpyro.param("mu_scale", 0.5, constraint=positive)
    tau_loc = numpyro.param("tau_loc", -0.3)
    sigma_rate = numpyro.param("sigma_rate", 2.0, constraint=positive)
    beta_loc = numpyro.param("beta_loc", jnp.zeros(2))
    beta_scale = numpyro.param("beta_scale", 0.4 * jnp.ones(2), constraint=positive)
    alpha_loc = numpyro.param("alpha_loc", jnp.zeros(GROUPS))
    numpyro.sample("mu", ndist.Normal(mu_loc, mu_scale))
    numpyro.sample("tau", ndist.LogNormal(tau_loc, 0.3))
    numpyro.sample("sigma", ndist.Gamma(3.0, sigma_rate))
    numpyro.sample("beta", ndist.Normal(beta_loc, beta_scale).to_event(1))
    with numpyro.plate("groups", GROUPS):
        numpyro.sample("alpha", ndist.Normal(alpha_loc, 0.6))


pyro_program = PyroProgram(pyro_model, pyro_guide)
numpyro_program = NumpyroProgram(numpyro_model, numpyro_guide)

CASE = Case(pyro_program, numpyro_program, args=(group, x, y))
CASE_PARTICLES = Case(pyro_program, numpyro_program, args=(group, x, y), particles=3)
CASE_MCMC = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(group, x, y))
