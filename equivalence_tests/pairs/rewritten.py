"""Two versions of one program in one framework: rewritten, and the same."""

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

rng = np.random.default_rng(27)
x = rng.normal(size=(8, 2))
y = rng.normal(size=8)


def pyro_model(x, y):
    w = pyro.sample("w", pdist.Normal(torch.zeros(2), torch.tensor([1.0, 2.0])).to_event(1))
    noise = pyro.sample("noise", pdist.LogNormal(-1.0, 0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("y", pdist.Normal(x @ w, noise), obs=y)


def pyro_rewritten(x, y):
    """The noise first, the prior as one multivariate normal, the mean summed by hand."""
    noise = pyro.sample("noise", pdist.LogNormal(-1.0, 0.5))
    w = pyro.sample(
        "w", pdist.MultivariateNormal(torch.zeros(2), torch.diag(torch.tensor([1.0, 4.0])))
    )
    mean = (x * w).sum(-1)
    with pyro.plate("data", len(x)):
        pyro.sample("y", pdist.Normal(mean, noise), obs=y)


def pyro_guide(x, y):
    loc = pyro.param("loc", torch.tensor([0.2, -0.1]))
    pyro.sample("w", pdist.Normal(loc, 0.4).to_event(1))
    pyro.sample("noise", pdist.LogNormal(pyro.param("n", torch.tensor(-0.8)), 0.2))


def numpyro_model(x, y):
    w = numpyro.sample("w", ndist.Normal(jnp.zeros(2), jnp.array([1.0, 2.0])).to_event(1))
    noise = numpyro.sample("noise", ndist.LogNormal(-1.0, 0.5))
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", ndist.Normal(x @ w, noise), obs=y)


def numpyro_rewritten(x, y):
    noise = numpyro.sample("noise", ndist.LogNormal(-1.0, 0.5))
    w = numpyro.sample(
        "w",
        ndist.MultivariateNormal(jnp.zeros(2), precision_matrix=jnp.diag(jnp.array([1.0, 0.25]))),
    )
    mean = jnp.einsum("nd,d->n", x, w)
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", ndist.Normal(mean, noise), obs=y)


def numpyro_guide(x, y):
    loc = numpyro.param("loc", jnp.array([0.2, -0.1]))
    numpyro.sample("w", ndist.Normal(loc, 0.4).to_event(1))
    numpyro.sample("noise", ndist.LogNormal(numpyro.param("n", -0.8), 0.2))


CASE_PYRO = Case(
    PyroProgram(pyro_model, pyro_guide), PyroProgram(pyro_rewritten, pyro_guide), args=(x, y)
)
CASE_NUMPYRO = Case(
    NumpyroProgram(numpyro_model, numpyro_guide),
    NumpyroProgram(numpyro_rewritten, numpyro_guide),
    args=(x, y),
)
CASE_SAME_PYRO = Case(
    PyroProgram(pyro_model, pyro_guide), PyroProgram(pyro_model, pyro_guide), args=(x, y)
)
