"""A hidden Markov chain with its states summed out, by loops in both frameworks."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro.contrib.funsor import markov

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

y = np.array([0.1, 0.3, 2.2, 1.9, 2.4, -0.2])


def pyro_model(y):
    stay = pyro.sample("stay", pdist.Beta(8.0, 2.0))
    gap = pyro.sample("gap", pdist.LogNormal(0.5, 0.3))
    state = torch.tensor(0)
    for t in pyro.markov(range(len(y))):
        on = torch.where(state == 1, stay, 1.0 - stay)
        state = pyro.sample(f"state_{t}", pdist.Bernoulli(on), infer={"enumerate": "parallel"})
        pyro.sample(f"y_{t}", pdist.Normal(gap * state, 0.7), obs=y[t])


def pyro_guide(y):
    a = pyro.param("a", torch.tensor(6.0), constraint=pdist.constraints.positive)
    loc = pyro.param("loc", torch.tensor(0.6))
    pyro.sample("stay", pdist.Beta(a, 2.0))
    pyro.sample("gap", pdist.LogNormal(loc, 0.2))


def numpyro_model(y):
    stay = numpyro.sample("stay", ndist.Beta(8.0, 2.0))
    gap = numpyro.sample("gap", ndist.LogNormal(0.5, 0.3))
    state = 0
    for t in markov(range(len(y))):
        on = jnp.where(state == 1, stay, 1.0 - stay)
        state = numpyro.sample(f"state_{t}", ndist.Bernoulli(on), infer={"enumerate": "parallel"})
        numpyro.sample(f"y_{t}", ndist.Normal(gap * state, 0.7), obs=y[t])


def numpyro_guide(y):
    a = numpyro.param("a", 6.0, constraint=ndist.constraints.positive)
    loc = numpyro.param("loc", 0.6)
    numpyro.sample("stay", ndist.Beta(a, 2.0))
    numpyro.sample("gap", ndist.LogNormal(loc, 0.2))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(y,),
    loss="TraceEnum_ELBO",
)
CASE_MCMC = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(y,))
