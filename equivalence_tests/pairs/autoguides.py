"""The libraries' autoguides on one model, each with its parameters matched by their habits."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro.infer import autoguide as numpyro_auto
from pyro.infer import autoguide as pyro_auto

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(17)
x = rng.normal(size=(10, 2))
y = rng.poisson(np.exp(0.4 + x @ np.array([0.5, -0.3])))


def pyro_model(x, y):
    intercept = pyro.sample("intercept", pdist.Normal(0.0, 1.0))
    slopes = pyro.sample("slopes", pdist.Normal(torch.zeros(2), 1.0).to_event(1))
    spread = pyro.sample("spread", pdist.HalfNormal(0.5))
    with pyro.plate("data", len(y)):
        effect = pyro.sample("effect", pdist.Normal(0.0, spread))
        pyro.sample("y", pdist.Poisson((intercept + x @ slopes + effect).exp()), obs=y)


def numpyro_model(x, y):
    intercept = numpyro.sample("intercept", ndist.Normal(0.0, 1.0))
    slopes = numpyro.sample("slopes", ndist.Normal(jnp.zeros(2), 1.0).to_event(1))
    spread = numpyro.sample("spread", ndist.HalfNormal(0.5))
    with numpyro.plate("data", len(y)):
        effect = numpyro.sample("effect", ndist.Normal(0.0, spread))
        numpyro.sample("y", ndist.Poisson(jnp.exp(intercept + x @ slopes + effect)), obs=y)


def make_pyro_normal():
    return pyro_model, pyro_auto.AutoNormal(pyro_model)


def make_numpyro_normal():
    return numpyro_model, numpyro_auto.AutoNormal(numpyro_model)


def make_pyro_diagonal():
    return pyro_model, pyro_auto.AutoDiagonalNormal(pyro_model)


def make_numpyro_diagonal():
    return numpyro_model, numpyro_auto.AutoDiagonalNormal(numpyro_model)


def make_pyro_multivariate():
    return pyro_model, pyro_auto.AutoMultivariateNormal(pyro_model)


def make_numpyro_multivariate():
    return numpyro_model, numpyro_auto.AutoMultivariateNormal(numpyro_model)


def make_pyro_low_rank():
    return pyro_model, pyro_auto.AutoLowRankMultivariateNormal(pyro_model, rank=2)


def make_numpyro_low_rank():
    return numpyro_model, numpyro_auto.AutoLowRankMultivariateNormal(numpyro_model, rank=2)


def make_pyro_delta():
    return pyro_model, pyro_auto.AutoDelta(pyro_model)


def make_numpyro_delta():
    return numpyro_model, numpyro_auto.AutoDelta(numpyro_model)


def make_pyro_laplace():
    return pyro_model, pyro_auto.AutoLaplaceApproximation(pyro_model)


def make_numpyro_laplace():
    return numpyro_model, numpyro_auto.AutoLaplaceApproximation(numpyro_model)


def make_pyro_list():
    guide = pyro_auto.AutoGuideList(pyro_model)
    shared, own = ["intercept", "slopes", "spread"], ["effect", "data"]
    guide.append(pyro_auto.AutoNormal(pyro.poutine.block(pyro_model, expose=shared)))
    guide.append(pyro_auto.AutoDelta(pyro.poutine.block(pyro_model, expose=own)))
    return pyro_model, guide


def make_numpyro_list():
    guide = numpyro_auto.AutoGuideList(numpyro_model)
    shared, own = ["intercept", "slopes", "spread"], ["effect", "data"]
    hide = numpyro.handlers.block
    guide.append(numpyro_auto.AutoNormal(hide(numpyro_model, expose=shared)))
    guide.append(numpyro_auto.AutoDelta(hide(numpyro_model, expose=own)))
    return numpyro_model, guide


CASE_NORMAL = Case(
    PyroProgram.build(make_pyro_normal), NumpyroProgram.build(make_numpyro_normal), args=(x, y)
)
CASE_NORMAL_SWAPPED = Case(
    NumpyroProgram.build(make_numpyro_normal), PyroProgram.build(make_pyro_normal), args=(x, y)
)
CASE_DIAGONAL = Case(
    PyroProgram.build(make_pyro_diagonal), NumpyroProgram.build(make_numpyro_diagonal), args=(x, y)
)
CASE_MULTIVARIATE = Case(
    PyroProgram.build(make_pyro_multivariate),
    NumpyroProgram.build(make_numpyro_multivariate),
    args=(x, y),
)
CASE_LOW_RANK = Case(
    PyroProgram.build(make_pyro_low_rank), NumpyroProgram.build(make_numpyro_low_rank), args=(x, y)
)
CASE_DELTA = Case(
    PyroProgram.build(make_pyro_delta), NumpyroProgram.build(make_numpyro_delta), args=(x, y)
)
CASE_LAPLACE = Case(
    PyroProgram.build(make_pyro_laplace), NumpyroProgram.build(make_numpyro_laplace), args=(x, y)
)
CASE_LIST = Case(
    PyroProgram.build(make_pyro_list),
    NumpyroProgram.build(make_numpyro_list),
    args=(x, y),
    seeds=(0,),
)
