"""Many zeros: a zero-inflated count, and a mixture with its components inside the distribution."""

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

counts = np.array([0, 0, 3, 0, 1, 5, 0, 2])
sizes = np.array([0.2, 0.4, 3.1, 2.7, 0.3])


def pyro_model(counts, sizes):
    gate = pyro.sample("gate", pdist.Beta(2.0, 2.0))
    rate = pyro.sample("rate", pdist.Gamma(2.0, 1.0))
    weight = pyro.sample("weight", pdist.Uniform(0.1, 0.9))
    with pyro.plate("visits", len(counts)):
        pyro.sample("counts", pdist.ZeroInflatedPoisson(rate, gate=gate), obs=counts)
    with pyro.plate("fish", len(sizes)):
        parts = pdist.Normal(torch.tensor([0.3, 3.0]), torch.tensor([0.2, 0.5]))
        choice = pdist.Categorical(torch.stack([weight, 1.0 - weight]))
        pyro.sample("sizes", pdist.MixtureSameFamily(choice, parts), obs=sizes)


def pyro_guide(counts, sizes):
    positive = pdist.constraints.positive
    a = pyro.param("a", torch.tensor(2.0), constraint=positive)
    b = pyro.param("b", torch.tensor(1.5), constraint=positive)
    p = pyro.param("p", torch.tensor(0.5), constraint=pdist.constraints.unit_interval)
    pyro.sample("gate", pdist.Beta(a, 2.0))
    pyro.sample("rate", pdist.InverseGamma(3.0, b))
    pyro.sample("weight", pdist.Uniform(0.1, 0.2 + 0.7 * p))


def numpyro_model(counts, sizes):
    gate = numpyro.sample("gate", ndist.Beta(2.0, 2.0))
    rate = numpyro.sample("rate", ndist.Gamma(2.0, 1.0))
    weight = numpyro.sample("weight", ndist.Uniform(0.1, 0.9))
    with numpyro.plate("visits", len(counts)):
        numpyro.sample("counts", ndist.ZeroInflatedPoisson(gate, rate=rate), obs=counts)
    with numpyro.plate("fish", len(sizes)):
        parts = ndist.Normal(jnp.array([0.3, 3.0]), jnp.array([0.2, 0.5]))
        choice = ndist.Categorical(jnp.stack([weight, 1.0 - weight]))
        numpyro.sample("sizes", ndist.MixtureSameFamily(choice, parts), obs=sizes)


def numpyro_guide(counts, sizes):
    positive = ndist.constraints.positive
    a = numpyro.param("a", 2.0, constraint=positive)
    b = numpyro.param("b", 1.5, constraint=positive)
    p = numpyro.param("p", 0.5, constraint=ndist.constraints.unit_interval)
    numpyro.sample("gate", ndist.Beta(a, 2.0))
    numpyro.sample("rate", ndist.InverseGamma(3.0, b))
    numpyro.sample("weight", ndist.Uniform(0.1, 0.2 + 0.7 * p))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(counts, sizes),
)
CASE_MCMC = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(counts, sizes))
