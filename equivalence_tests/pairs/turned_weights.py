"""Weights of a layer, (out, in) in one program and (in, out) in the other, with and without autoguides."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro.infer import autoguide as nguides
from pyro.infer import autoguide as pguides

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(6)
x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def pyro_model(x, y):
    weight = pyro.sample("weight", pdist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
    with pyro.plate("inputs", 3, dim=-1), pyro.plate("outputs", 2, dim=-2):
        spread = pyro.sample("spread", pdist.HalfNormal(torch.tensor([1.0, 2.0, 3.0])))
    with pyro.plate("items", 5):
        mean = x @ (weight * spread).mT
        pyro.sample("y", pdist.Normal(mean, 1.0).to_event(1), obs=y)


def numpyro_model(x, y):
    kernel = numpyro.sample("kernel", ndist.Normal(jnp.zeros((3, 2)), 1.0).to_event(2))
    with numpyro.plate("rows", 3, dim=-2), numpyro.plate("columns", 2, dim=-1):
        width = numpyro.sample("width", ndist.HalfNormal(jnp.array([[1.0], [2.0], [3.0]])))
    with numpyro.plate("items", 5):
        numpyro.sample("y", ndist.Normal(x @ (kernel * width), 1.0).to_event(1), obs=y)


def turned(values):
    return values.T


RENAME = {"weight": ("kernel", turned, turned), "spread": ("width", turned, turned)}


def case(pyro_guide=None, numpyro_guide=None):
    return Case(
        PyroProgram(pyro_model, pyro_guide and pyro_guide(pyro_model)),
        NumpyroProgram(numpyro_model, numpyro_guide and numpyro_guide(numpyro_model)),
        args=(x, y),
        rename=RENAME,
        seeds=(0,),
    )


CASE = case()
CASE_NORMAL = case(pguides.AutoNormal, nguides.AutoNormal)
CASE_JOINT = case(pguides.AutoMultivariateNormal, nguides.AutoMultivariateNormal)
