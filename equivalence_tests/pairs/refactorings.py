"""The same regression put differently: an event for a plate, other names, another order, another layout."""

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

J, D = 5, 3
rng = np.random.default_rng(20)
x = rng.normal(size=(J, D))
y = rng.normal(size=(J, D))


def pyro_model(x, y):
    scale = pyro.sample("scale", pdist.HalfNormal(1.0))
    shift = pyro.sample("shift", pdist.StudentT(4.0, 0.0, 1.0))
    with pyro.plate("features", D, dim=-2), pyro.plate("rows", J, dim=-1):
        z = pyro.sample("z", pdist.Normal(shift, scale))
    with pyro.plate("items", J):
        pyro.sample("y", pdist.Normal(z.T * x, 0.5).to_event(1), obs=y)


def pyro_guide(x, y):
    loc = pyro.param("loc", torch.zeros(D, J))
    pyro.sample("scale", pdist.LogNormal(pyro.param("s", torch.tensor(-0.4)), 0.3))
    pyro.sample("shift", pdist.Normal(pyro.param("m", torch.tensor(0.2)), 0.4))
    with pyro.plate("features", D, dim=-2), pyro.plate("rows", J, dim=-1):
        pyro.sample("z", pdist.Normal(loc, 0.6))


def numpyro_model(x, y):
    """The features are an event of the rows: transposed."""
    scale = numpyro.sample("scale", ndist.HalfNormal(1.0))
    shift = numpyro.sample("shift", ndist.StudentT(4.0, 0.0, 1.0))
    with numpyro.plate("rows", J):
        z = numpyro.sample("z", ndist.Normal(shift, scale).expand([J, D]).to_event(1))
    with numpyro.plate("items", J):
        numpyro.sample("y", ndist.Normal(z * x, 0.5).to_event(1), obs=y)


def numpyro_guide(x, y):
    loc = numpyro.param("loc", jnp.zeros((D, J)))
    numpyro.sample("scale", ndist.LogNormal(numpyro.param("s", -0.4), 0.3))
    numpyro.sample("shift", ndist.Normal(numpyro.param("m", 0.2), 0.4))
    with numpyro.plate("rows", J):
        numpyro.sample("z", ndist.Normal(loc.T, 0.6).to_event(1))


def numpyro_renamed_model(x, y):
    """Other names, and the independent sites in another order."""
    m = numpyro.sample("m", ndist.StudentT(4.0, 0.0, 1.0))
    s = numpyro.sample("s", ndist.HalfNormal(1.0))
    with numpyro.plate("D", D, dim=-2), numpyro.plate("J", J, dim=-1):
        effects = numpyro.sample("effects", ndist.Normal(m, s))
    with numpyro.plate("observations", J):
        numpyro.sample("data", ndist.Normal(effects.T * x, 0.5).to_event(1), obs=y)


def numpyro_renamed_guide(x, y):
    loc = numpyro.param("means", jnp.zeros((J, D)))
    with numpyro.plate("D", D, dim=-2), numpyro.plate("J", J, dim=-1):
        numpyro.sample("effects", ndist.Normal(loc.T, 0.6))
    numpyro.sample("m", ndist.Normal(numpyro.param("m_loc", 0.2), 0.4))
    numpyro.sample("s", ndist.LogNormal(numpyro.param("s_loc", -0.4), 0.3))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide), NumpyroProgram(numpyro_model, numpyro_guide), args=(x, y)
)
CASE_SWAPPED = Case(
    NumpyroProgram(numpyro_model, numpyro_guide), PyroProgram(pyro_model, pyro_guide), args=(x, y)
)
CASE_RENAMED = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_renamed_model, numpyro_renamed_guide),
    args=(x, y),
    rename={
        "scale": "s",
        "shift": "m",
        "z": "effects",
        "y": "data",
        "rows": "J",
        "features": "D",
        "items": "observations",
        "loc": ("means", np.transpose, np.transpose),
    }
    | {"s": "s_loc", "m": "m_loc"},
)
CASE_MCMC = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(x, y))
