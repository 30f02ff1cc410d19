"""Missing entries: a mask handler, a masked distribution, and obs_mask."""

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

rng = np.random.default_rng(9)
x = rng.normal(size=(6, 3))
seen = rng.uniform(size=(6, 3)) < 0.7
y = rng.normal(size=6)
labelled = np.array([True, True, False, True, False, True])


def pyro_model(x, seen, y, labelled):
    w = pyro.sample("w", pdist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("items", len(x)):
        z = pyro.sample("z", pdist.Normal(0.0, 1.0))
        with pyro.poutine.mask(mask=labelled):
            pyro.sample("y", pdist.Normal(2.0 * z, 0.5), obs=y)
        mean = z[:, None] * w
        pyro.sample("x", pdist.Normal(mean, 0.8).mask(seen).to_event(1), obs=x)


def pyro_guide(x, seen, y, labelled):
    loc = pyro.param("loc", torch.zeros(3))
    gain = pyro.param("gain", torch.tensor(0.5))
    pyro.sample("w", pdist.Normal(loc, 0.4).to_event(1))
    with pyro.plate("items", len(x)):
        pyro.sample("z", pdist.Normal(gain * (x * seen).sum(-1), 0.7))


def numpyro_model(x, seen, y, labelled):
    w = numpyro.sample("w", ndist.Normal(jnp.zeros(3), 1.0).to_event(1))
    with numpyro.plate("items", len(x)):
        z = numpyro.sample("z", ndist.Normal(0.0, 1.0))
        with numpyro.handlers.mask(mask=labelled):
            numpyro.sample("y", ndist.Normal(2.0 * z, 0.5), obs=y)
        mean = z[:, None] * w
        numpyro.sample("x", ndist.Normal(mean, 0.8).mask(seen).to_event(1), obs=x)


def numpyro_guide(x, seen, y, labelled):
    loc = numpyro.param("loc", jnp.zeros(3))
    gain = numpyro.param("gain", 0.5)
    numpyro.sample("w", ndist.Normal(loc, 0.4).to_event(1))
    with numpyro.plate("items", len(x)):
        numpyro.sample("z", ndist.Normal(gain * (x * seen).sum(-1), 0.7))


def numpyro_masked_model(x, seen, y, labelled):
    """Says with the distribution what the handler says."""
    w = numpyro.sample("w", ndist.Normal(jnp.zeros(3), 1.0).to_event(1))
    with numpyro.plate("items", len(x)):
        z = numpyro.sample("z", ndist.Normal(0.0, 1.0))
        numpyro.sample("y", ndist.Normal(2.0 * z, 0.5).mask(labelled), obs=y)
        mean = z[:, None] * w
        numpyro.sample("x", ndist.Normal(mean, 0.8).mask(seen).to_event(1), obs=x)


def pyro_imputing_model(y, labelled):
    loc = pyro.sample("loc", pdist.Normal(0.0, 1.0))
    with pyro.plate("items", len(y)):
        y = pyro.sample("y", pdist.Normal(loc, 1.0), obs=y, obs_mask=labelled)
        pyro.sample("size", pdist.Poisson(torch.exp(0.2 * y)), obs=torch.ones(len(y)))


def pyro_imputing_guide(y, labelled):
    a = pyro.param("a", torch.tensor(0.2))
    loc = pyro.sample("loc", pdist.Normal(a, 0.5))
    with pyro.plate("items", len(y)):
        pyro.sample("y_unobserved", pdist.Normal(loc, 0.8))


def numpyro_imputing_model(y, labelled):
    loc = numpyro.sample("loc", ndist.Normal(0.0, 1.0))
    with numpyro.plate("items", len(y)):
        y = numpyro.sample("y", ndist.Normal(loc, 1.0), obs=y, obs_mask=labelled)
        numpyro.sample("size", ndist.Poisson(jnp.exp(0.2 * y)), obs=jnp.ones(len(y)))


def numpyro_imputing_guide(y, labelled):
    a = numpyro.param("a", 0.2)
    loc = numpyro.sample("loc", ndist.Normal(a, 0.5))
    with numpyro.plate("items", len(y)):
        numpyro.sample("y_unobserved", ndist.Normal(loc, 0.8))


pyro_program = PyroProgram(pyro_model, pyro_guide)

CASE = Case(pyro_program, NumpyroProgram(numpyro_model, numpyro_guide), args=(x, seen, y, labelled))
CASE_MASKED_DISTRIBUTION = Case(
    pyro_program, NumpyroProgram(numpyro_masked_model, numpyro_guide), args=(x, seen, y, labelled)
)
CASE_OBS_MASK = Case(
    PyroProgram(pyro_imputing_model, pyro_imputing_guide),
    NumpyroProgram(numpyro_imputing_model, numpyro_imputing_guide),
    args=(y, labelled),
)
