"""Discrete latents with discrete guides: score-function gradients, or enumerated in the guide."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(13)
y = np.array([0.2, 2.9, 3.3, -0.4, 2.5])


def pyro_model(y):
    rate = pyro.sample("rate", pdist.Beta(2.0, 3.0))
    with pyro.plate("data", len(y)):
        on = pyro.sample("on", pdist.Bernoulli(rate))
        pyro.sample("y", pdist.Normal(3.0 * on, 1.0), obs=y)


def pyro_guide(y):
    a = pyro.param("a", torch.tensor(2.0), constraint=pdist.constraints.positive)
    b = pyro.param("b", torch.tensor(2.5), constraint=pdist.constraints.positive)
    slope = pyro.param("slope", torch.tensor(0.7))
    pyro.sample("rate", pdist.Beta(a, b))
    with pyro.plate("data", len(y)):
        pyro.sample("on", pdist.Bernoulli(logits=slope * (y - 1.5)))


def numpyro_model(y):
    rate = numpyro.sample("rate", ndist.Beta(2.0, 3.0))
    with numpyro.plate("data", len(y)):
        on = numpyro.sample("on", ndist.Bernoulli(rate))
        numpyro.sample("y", ndist.Normal(3.0 * on, 1.0), obs=y)


def numpyro_guide(y):
    a = numpyro.param("a", 2.0, constraint=ndist.constraints.positive)
    b = numpyro.param("b", 2.5, constraint=ndist.constraints.positive)
    slope = numpyro.param("slope", 0.7)
    numpyro.sample("rate", ndist.Beta(a, b))
    with numpyro.plate("data", len(y)):
        numpyro.sample("on", ndist.Bernoulli(logits=slope * (y - 1.5)))


def pyro_enumerating_guide(y):
    a = pyro.param("a", torch.tensor(2.0), constraint=pdist.constraints.positive)
    b = pyro.param("b", torch.tensor(2.5), constraint=pdist.constraints.positive)
    slope = pyro.param("slope", torch.tensor(0.7))
    pyro.sample("rate", pdist.Beta(a, b))
    with pyro.plate("data", len(y)):
        logits = slope * (y - 1.5)
        pyro.sample("on", pdist.Bernoulli(logits=logits), infer={"enumerate": "parallel"})


def numpyro_enumerating_guide(y):
    a = numpyro.param("a", 2.0, constraint=ndist.constraints.positive)
    b = numpyro.param("b", 2.5, constraint=ndist.constraints.positive)
    slope = numpyro.param("slope", 0.7)
    numpyro.sample("rate", ndist.Beta(a, b))
    with numpyro.plate("data", len(y)):
        logits = slope * (y - 1.5)
        numpyro.sample("on", ndist.Bernoulli(logits=logits), infer={"enumerate": "parallel"})


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(y,),
    loss="TraceGraph_ELBO",
)
CASE_ENUMERATED = Case(
    PyroProgram(pyro_model, pyro_enumerating_guide),
    NumpyroProgram(numpyro_model, numpyro_enumerating_guide),
    args=(y,),
    loss="TraceEnum_ELBO",
)
