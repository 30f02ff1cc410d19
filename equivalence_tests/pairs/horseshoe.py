"""Sparse regression with a horseshoe prior, for MCMC and with autoguides."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
from jax import numpy as jnp

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(8)
x = rng.normal(size=(10, 4))
y = x @ np.array([2.0, 0.0, 0.0, -1.0]) + 0.5 * rng.normal(size=10)


def pyro_model(x, y):
    tau = pyro.sample("tau", pdist.HalfCauchy(0.5))
    noise = pyro.sample("noise", pdist.InverseGamma(3.0, 1.0))
    with pyro.plate("features", x.shape[1]):
        local = pyro.sample("local", pdist.HalfCauchy(1.0))
        beta = pyro.sample("beta", pdist.Normal(0.0, tau * local))
    with pyro.plate("data", len(x)):
        pyro.sample("y", pdist.Normal(x @ beta, noise.sqrt()), obs=y)


def numpyro_model(x, y):
    tau = numpyro.sample("tau", ndist.HalfCauchy(0.5))
    noise = numpyro.sample("noise", ndist.InverseGamma(3.0, 1.0))
    with numpyro.plate("features", x.shape[1]):
        local = numpyro.sample("local", ndist.HalfCauchy(1.0))
        beta = numpyro.sample("beta", ndist.Normal(0.0, tau * local))
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", ndist.Normal(x @ beta, jnp.sqrt(noise)), obs=y)


CASE = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(x, y))
CASE_SWAPPED = Case(NumpyroProgram(numpyro_model), PyroProgram(pyro_model), args=(x, y))
