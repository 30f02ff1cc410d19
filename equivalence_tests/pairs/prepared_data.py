"""Data prepared inside the program, and a square weight written out by hand."""

import jax
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

D = 3
rng = np.random.default_rng(30)
counts = rng.integers(0, 900, size=(8, D))
y = rng.normal(size=(8, 2))


def pyro_model(counts, y):
    weight = pyro.param(
        "weight", torch.tensor([[0.4, 0.1, -0.3], [0.2, 0.5, 0.3], [-0.6, 0.7, 0.2]])
    )
    raw = pyro.param("raw", torch.tensor(0.3))
    x = counts / 100.0
    centred = x - x.median(0).values  # torch takes the lower of the two in the middle
    z = pyro.deterministic("z", centred / x.std(0))
    shift = pyro.sample("shift", pdist.Normal(0.0, 1.0))
    h = torch.nn.functional.linear(z, weight)
    shares = pyro.deterministic("shares", h - torch.logsumexp(h, -1, keepdim=True))
    with pyro.plate("data", len(y)):
        noise = torch.nn.functional.softplus(raw)
        pyro.sample("y", pdist.Normal(shift + shares[:, 0], noise), obs=y[:, 1])


def pyro_guide(counts, y):
    loc = pyro.param("loc", torch.tensor(0.2))
    pyro.sample("shift", pdist.Normal(loc, 0.5))


def numpyro_model(counts, y):
    weight = numpyro.param(
        "weight", jnp.array([[0.4, 0.1, -0.3], [0.2, 0.5, 0.3], [-0.6, 0.7, 0.2]])
    )
    raw = numpyro.param("raw", 0.3)
    x = counts / 100.0
    centred = x - jnp.quantile(x, 0.5, axis=0, method="lower")
    z = numpyro.deterministic("z", centred / x.std(0, ddof=1))
    shift = numpyro.sample("shift", ndist.Normal(0.0, 1.0))
    h = z @ weight.T
    shares = numpyro.deterministic("shares", h - jax.nn.logsumexp(h, axis=-1, keepdims=True))
    with numpyro.plate("data", len(y)):
        noise = jax.nn.softplus(raw)
        numpyro.sample("y", ndist.Normal(shift + shares[:, 0], noise), obs=y[:, 1])


def numpyro_guide(counts, y):
    loc = numpyro.param("loc", 0.2)
    numpyro.sample("shift", ndist.Normal(loc, 0.5))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(counts, y),
)
