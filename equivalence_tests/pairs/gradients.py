"""What gradients alone show: edges at which the frameworks choose another subgradient, stopped gradients."""

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

rng = np.random.default_rng(31)
y = rng.normal(size=6)


def pyro_model(y):
    lasso = pyro.param("lasso", torch.tensor([0.0, 0.7]))
    group = pyro.param("group", torch.tensor([[0.0, 0.0], [0.3, -0.4]]))
    gate = pyro.param("gate", torch.tensor([0.0, 0.6]))
    share = pyro.param("share", torch.tensor([0.0, 1.0, 1.5]))
    pyro.factor("penalty", -torch.abs(lasso).sum() - 2.0 * torch.linalg.norm(group, dim=-1).sum())
    loc = pyro.sample("loc", pdist.Normal(0.0, 1.0))
    mean = loc + torch.relu(gate).sum() + torch.clamp(share, 0.0, 1.0).sum()
    with pyro.plate("data", len(y)):
        pyro.sample("y", pdist.Normal(mean, 1.0), obs=y)


def pyro_guide(y):
    a = pyro.param("a", torch.tensor(0.4))
    b = pyro.param("b", torch.tensor(0.3))
    pyro.sample("loc", pdist.Normal(a, torch.exp(b * a.detach())))


def norm(x):
    """Of which the gradient at 0 is 0, as torch has it."""
    square = (x**2).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def clamp(x, low, high):
    """Of which the gradient at a bound is 1, as torch has it."""
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


def numpyro_model(y):
    lasso = numpyro.param("lasso", jnp.array([0.0, 0.7]))
    group = numpyro.param("group", jnp.array([[0.0, 0.0], [0.3, -0.4]]))
    gate = numpyro.param("gate", jnp.array([0.0, 0.6]))
    share = numpyro.param("share", jnp.array([0.0, 1.0, 1.5]))
    numpyro.factor("penalty", -(jnp.sign(lasso) * lasso).sum() - 2.0 * norm(group).sum())
    loc = numpyro.sample("loc", ndist.Normal(0.0, 1.0))
    mean = loc + jax.nn.relu(gate).sum() + clamp(share, 0.0, 1.0).sum()
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", ndist.Normal(mean, 1.0), obs=y)


def numpyro_guide(y):
    a = numpyro.param("a", 0.4)
    b = numpyro.param("b", 0.3)
    numpyro.sample("loc", ndist.Normal(a, jnp.exp(b * jax.lax.stop_gradient(a))))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(y,),
    params={
        "lasso": np.array([0.0, 0.7]),
        "group": np.array([[0.0, 0.0], [0.3, -0.4]]),
        "gate": np.array([0.0, 0.6]),
        "share": np.array([0.0, 1.0, 1.5]),
    },
)
