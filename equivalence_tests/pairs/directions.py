"""Angles: Pyro's VonMises has a density of few digits, which is no mistake of a port."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

angles = np.random.default_rng(32).vonmises(0.5, 3.0, size=7)


def pyro_model(angles):
    north = pyro.sample("north", pdist.Normal(0.0, 0.5))
    focus = pyro.sample("focus", pdist.Gamma(4.0, 1.5))
    with pyro.plate("data", len(angles)):
        pyro.sample("angles", pdist.VonMises(north, focus), obs=angles)


def pyro_guide(angles):
    loc = pyro.param("loc", torch.tensor(0.3))
    rate = pyro.param("rate", torch.tensor(1.2), constraint=pdist.constraints.positive)
    pyro.sample("north", pdist.Normal(loc, 0.2))
    pyro.sample("focus", pdist.Gamma(3.0, rate))


def numpyro_model(angles):
    north = numpyro.sample("north", ndist.Normal(0.0, 0.5))
    focus = numpyro.sample("focus", ndist.Gamma(4.0, 1.5))
    with numpyro.plate("data", len(angles)):
        numpyro.sample("angles", ndist.VonMises(north, focus), obs=angles)


def numpyro_guide(angles):
    loc = numpyro.param("loc", 0.3)
    rate = numpyro.param("rate", 1.2, constraint=ndist.constraints.positive)
    numpyro.sample("north", ndist.Normal(loc, 0.2))
    numpyro.sample("focus", ndist.Gamma(3.0, rate))


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(angles,),
)
