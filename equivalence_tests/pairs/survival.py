"""Survival times, some of them censored: Weibull densities under a mask, and a factor for the rest."""

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

rng = np.random.default_rng(23)
x = rng.normal(size=9)
time = rng.weibull(1.5, size=9) * np.exp(0.3 * x)
dead = rng.uniform(size=9) < 0.7


def pyro_model(x, time, dead):
    shape = pyro.sample("shape", pdist.Gamma(4.0, 3.0))
    beta = pyro.sample("beta", pdist.Normal(0.0, 1.0))
    with pyro.plate("patients", len(x)):
        scale = torch.exp(beta * x)
        with pyro.poutine.mask(mask=dead):
            pyro.sample("time", pdist.Weibull(scale, shape), obs=time)
        alive = torch.where(dead, torch.zeros(len(x)), -((time / scale) ** shape))
        pyro.factor("censored", alive)


def pyro_guide(x, time, dead):
    a = pyro.param("a", torch.tensor(3.0), constraint=pdist.constraints.greater_than(1.0))
    b = pyro.param("b", torch.tensor(0.1), constraint=pdist.constraints.interval(-1.0, 2.0))
    pyro.sample("shape", pdist.Gamma(a, 2.0))
    pyro.sample("beta", pdist.Logistic(b, 0.2))


def numpyro_model(x, time, dead):
    shape = numpyro.sample("shape", ndist.Gamma(4.0, 3.0))
    beta = numpyro.sample("beta", ndist.Normal(0.0, 1.0))
    with numpyro.plate("patients", len(x)):
        scale = jnp.exp(beta * x)
        with numpyro.handlers.mask(mask=dead):
            numpyro.sample("time", ndist.Weibull(scale, shape), obs=time)
        alive = jnp.where(dead, jnp.zeros(len(x)), -((time / scale) ** shape))
        numpyro.factor("censored", alive)


def numpyro_guide(x, time, dead):
    a = numpyro.param("a", 3.0, constraint=ndist.constraints.greater_than(1.0))
    b = numpyro.param("b", 0.1, constraint=ndist.constraints.interval(-1.0, 2.0))
    numpyro.sample("shape", ndist.Gamma(a, 2.0))
    numpyro.sample("beta", ndist.Logistic(b, 0.2))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(x, time, dead),
)
