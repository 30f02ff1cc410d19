"""Ordered answers: cutpoints as an ordered parameter."""

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

rng = np.random.default_rng(24)
x = rng.normal(size=10)
y = np.clip(np.round(1.5 + x + 0.3 * rng.normal(size=10)), 0, 3).astype(int)


def pyro_model(x, y):
    cuts = pyro.param(
        "cuts", torch.tensor([-1.0, 0.0, 1.2]), constraint=pdist.constraints.ordered_vector
    )
    slope = pyro.sample("slope", pdist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", pdist.OrderedLogistic(slope * x, cuts), obs=y)


def pyro_guide(x, y):
    loc = pyro.param("loc", torch.tensor(0.7))
    scale = pyro.param("scale", torch.tensor(0.3), constraint=pdist.constraints.positive)
    pyro.sample("slope", pdist.Normal(loc, scale))


def numpyro_model(x, y):
    cuts = numpyro.param(
        "cuts", jnp.array([-1.0, 0.0, 1.2]), constraint=ndist.constraints.ordered_vector
    )
    slope = numpyro.sample("slope", ndist.Normal(0.0, 1.0))
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", ndist.OrderedLogistic(slope * x, cuts), obs=y)


def numpyro_guide(x, y):
    loc = numpyro.param("loc", 0.7)
    scale = numpyro.param("scale", 0.3, constraint=ndist.constraints.positive)
    numpyro.sample("slope", ndist.Normal(loc, scale))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide), NumpyroProgram(numpyro_model, numpyro_guide), args=(x, y)
)
