"""Data in units of 1e-8 and 1e8, and numbers far from zero."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(15)
tiny = 1e-8 * (3.0 + rng.normal(size=8))
huge = 1e8 * (2.0 + rng.normal(size=8))
far = 1e6 + rng.normal(size=8)


def pyro_model(tiny, huge):
    a = pyro.sample("a", pdist.Normal(0.0, 1e-7))
    b = pyro.sample("b", pdist.Normal(0.0, 1e9))
    s = pyro.sample("s", pdist.Exponential(1e8))
    with pyro.plate("data", len(tiny)):
        pyro.sample("tiny", pdist.Normal(a, s + 1e-9), obs=tiny)
        pyro.sample("huge", pdist.Cauchy(b, 1e8), obs=huge)
        pyro.sample("ratio", pdist.Normal(b * a, 1.0), obs=tiny * huge)


def pyro_guide(tiny, huge):
    positive = pdist.constraints.positive
    a_loc = pyro.param("a_loc", torch.tensor(2e-8))
    a_scale = pyro.param("a_scale", torch.tensor(1e-8), constraint=positive)
    b_loc = pyro.param("b_loc", torch.tensor(1e8))
    rate = pyro.param("rate", torch.tensor(5e7), constraint=positive)
    pyro.sample("a", pdist.Normal(a_loc, a_scale))
    pyro.sample("b", pdist.Normal(b_loc, 1e7))
    pyro.sample("s", pdist.Exponential(rate))


def numpyro_model(tiny, huge):
    a = numpyro.sample("a", ndist.Normal(0.0, 1e-7))
    b = numpyro.sample("b", ndist.Normal(0.0, 1e9))
    s = numpyro.sample("s", ndist.Exponential(1e8))
    with numpyro.plate("data", len(tiny)):
        numpyro.sample("tiny", ndist.Normal(a, s + 1e-9), obs=tiny)
        numpyro.sample("huge", ndist.Cauchy(b, 1e8), obs=huge)
        numpyro.sample("ratio", ndist.Normal(b * a, 1.0), obs=tiny * huge)


def numpyro_guide(tiny, huge):
    positive = ndist.constraints.positive
    a_loc = numpyro.param("a_loc", 2e-8)
    a_scale = numpyro.param("a_scale", 1e-8, constraint=positive)
    b_loc = numpyro.param("b_loc", 1e8)
    rate = numpyro.param("rate", 5e7, constraint=positive)
    numpyro.sample("a", ndist.Normal(a_loc, a_scale))
    numpyro.sample("b", ndist.Normal(b_loc, 1e7))
    numpyro.sample("s", ndist.Exponential(rate))


def pyro_far_model(far):
    """Standardised by hand: most digits cancel."""
    loc = pyro.sample("loc", pdist.Normal(1e6, 1.0))
    with pyro.plate("data", len(far)):
        z = (far - far.mean()) / far.std()
        pyro.sample("z", pdist.Normal(0.1 * (loc - 1e6), 1.0), obs=z)
        pyro.sample("far", pdist.Normal(loc, 0.5), obs=far)


def numpyro_far_model(far):
    loc = numpyro.sample("loc", ndist.Normal(1e6, 1.0))
    with numpyro.plate("data", len(far)):
        z = (far - far.mean()) / far.std(ddof=1)
        numpyro.sample("z", ndist.Normal(0.1 * (loc - 1e6), 1.0), obs=z)
        numpyro.sample("far", ndist.Normal(loc, 0.5), obs=far)


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(tiny, huge),
)
CASE_FAR = Case(PyroProgram(pyro_far_model), NumpyroProgram(numpyro_far_model), args=(far,))
