"""An auxiliary variable in the guide: marked, and outside of the model."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(26)
y = rng.normal(size=5) + 1.0


def pyro_model(y):
    loc = pyro.sample("loc", pdist.Normal(0.0, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", pdist.Normal(loc, 1.0), obs=y)


def pyro_guide(y):
    mean = pyro.param("mean", torch.tensor(0.5))
    scale = pyro.param("scale", torch.tensor(0.4), constraint=pdist.constraints.positive)
    u = pyro.sample("u", pdist.Normal(mean, scale), infer={"is_auxiliary": True})
    pyro.sample("loc", pdist.Delta(u + 0.1 * y.mean(), log_density=0.1 * u))


def numpyro_model(y):
    loc = numpyro.sample("loc", ndist.Normal(0.0, 1.0))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", ndist.Normal(loc, 1.0), obs=y)


def numpyro_guide(y):
    mean = numpyro.param("mean", 0.5)
    scale = numpyro.param("scale", 0.4, constraint=ndist.constraints.positive)
    u = numpyro.sample("u", ndist.Normal(mean, scale), infer={"is_auxiliary": True})
    numpyro.sample("loc", ndist.Delta(u + 0.1 * y.mean(), log_density=0.1 * u))


pyro_program = PyroProgram(pyro_model, pyro_guide)
numpyro_program = NumpyroProgram(numpyro_model, numpyro_guide)

CASE = Case(pyro_program, numpyro_program, args=(y,))
CASE_VECTORISED = Case(
    pyro_program, numpyro_program, args=(y,), particles=4, vectorize_particles=True
)
