"""Factor and parameter sites in the model, and a deterministic: a penalised spline."""

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

rng = np.random.default_rng(12)
basis = rng.uniform(size=(9, 5))
y = basis @ np.array([0.2, 0.5, 0.9, 0.6, 0.1]) + 0.1 * rng.normal(size=9)


def pyro_model(basis, y):
    noise = pyro.param("noise", torch.tensor(0.4), constraint=pdist.constraints.positive)
    offset = pyro.param("offset", torch.tensor(0.1))
    smooth = pyro.sample("smooth", pdist.Gamma(2.0, 1.5))
    with pyro.plate("knots", 5):
        weights = pyro.sample("weights", pdist.Normal(0.0, 2.0))
    bends = weights[2:] - 2.0 * weights[1:-1] + weights[:-2]
    pyro.factor("roughness", -0.5 * smooth * (bends**2).sum())
    curve = pyro.deterministic("curve", offset + basis @ weights)
    with pyro.plate("data", len(y)):
        pyro.sample("y", pdist.Laplace(curve, noise), obs=y)


def pyro_guide(basis, y):
    rate = pyro.param("rate", torch.tensor(2.0), constraint=pdist.constraints.softplus_positive)
    loc = pyro.param("loc", torch.full((5,), 0.3))
    pyro.sample("smooth", pdist.Gamma(2.5, rate))
    with pyro.plate("knots", 5):
        pyro.sample("weights", pdist.Laplace(loc, 0.3))


def numpyro_model(basis, y):
    noise = numpyro.param("noise", 0.4, constraint=ndist.constraints.positive)
    offset = numpyro.param("offset", 0.1)
    smooth = numpyro.sample("smooth", ndist.Gamma(2.0, 1.5))
    with numpyro.plate("knots", 5):
        weights = numpyro.sample("weights", ndist.Normal(0.0, 2.0))
    bends = weights[2:] - 2.0 * weights[1:-1] + weights[:-2]
    numpyro.factor("roughness", -0.5 * smooth * (bends**2).sum())
    curve = numpyro.deterministic("curve", offset + basis @ weights)
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", ndist.Laplace(curve, noise), obs=y)


def numpyro_guide(basis, y):
    rate = numpyro.param("rate", 2.0, constraint=ndist.constraints.softplus_positive)
    loc = numpyro.param("loc", jnp.full(5, 0.3))
    numpyro.sample("smooth", ndist.Gamma(2.5, rate))
    with numpyro.plate("knots", 5):
        numpyro.sample("weights", ndist.Laplace(loc, 0.3))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(basis, y),
)
CASE_TRAINED = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(basis, y),
    params={"noise": np.array(0.12), "loc": np.array([0.3, 0.5, 0.8, 0.5, 0.2])},
)
