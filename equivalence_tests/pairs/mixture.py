"""A mixture of Gaussians, its assignments summed out by both frameworks."""

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

K = 3
rng = np.random.default_rng(6)
x = np.concatenate([rng.normal(-2.0, 0.5, size=3), rng.normal(1.5, 0.5, size=4)])


def pyro_model(x):
    weights = pyro.sample("weights", pdist.Dirichlet(torch.tensor([2.0, 1.0, 3.0])))
    scale = pyro.sample("scale", pdist.InverseGamma(3.0, 2.0))
    with pyro.plate("components", K):
        locs = pyro.sample("locs", pdist.Normal(0.0, 3.0))
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", pdist.Categorical(weights), infer={"enumerate": "parallel"})
        pyro.sample("x", pdist.Normal(locs[k], scale), obs=x)


def pyro_guide(x):
    concentration = pyro.param(
        "concentration", 2.0 * torch.ones(K), constraint=pdist.constraints.positive
    )
    loc = pyro.param("loc", torch.tensor([-1.5, 0.2, 1.0]))
    pyro.sample("weights", pdist.Dirichlet(concentration))
    pyro.sample("scale", pdist.LogNormal(0.1, 0.3))
    with pyro.plate("components", K):
        pyro.sample("locs", pdist.Normal(loc, 0.5))


def numpyro_model(x):
    weights = numpyro.sample("weights", ndist.Dirichlet(jnp.array([2.0, 1.0, 3.0])))
    scale = numpyro.sample("scale", ndist.InverseGamma(3.0, 2.0))
    with numpyro.plate("components", K):
        locs = numpyro.sample("locs", ndist.Normal(0.0, 3.0))
    with numpyro.plate("data", len(x)):
        k = numpyro.sample("k", ndist.Categorical(weights), infer={"enumerate": "parallel"})
        numpyro.sample("x", ndist.Normal(locs[k], scale), obs=x)


def numpyro_guide(x):
    concentration = numpyro.param(
        "concentration", 2.0 * jnp.ones(K), constraint=ndist.constraints.positive
    )
    loc = numpyro.param("loc", jnp.array([-1.5, 0.2, 1.0]))
    numpyro.sample("weights", ndist.Dirichlet(concentration))
    numpyro.sample("scale", ndist.LogNormal(0.1, 0.3))
    with numpyro.plate("components", K):
        numpyro.sample("locs", ndist.Normal(loc, 0.5))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(x,),
    loss="TraceEnum_ELBO",
)
CASE_MCMC = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(x,))
