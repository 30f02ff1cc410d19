"""The libraries' autoguides on a time series: a loop in Pyro, a scan in NumPyro.

Over the loop an autoguide has parameters for each step, over the scan one stack of them. By execution the
sites are tempo, noise, level; by name level, noise, tempo.
"""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro.contrib.control_flow import scan
from numpyro.infer import autoguide as numpyro_auto
from pyro.infer import autoguide as pyro_auto

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(34)
y = np.cumsum(rng.normal(size=5)) + 0.3 * rng.normal(size=5)
counts = rng.poisson(2.0, size=(4, 3))


def pyro_model(y):
    tempo = pyro.sample("tempo", pdist.Normal(0.0, 0.5))
    noise = pyro.sample("noise", pdist.LogNormal(-1.0, 0.4))
    level = torch.tensor(0.0)
    for t in range(len(y)):
        level = pyro.sample(f"level_{t}", pdist.Normal(torch.tanh(level) + tempo, 1.0))
        pyro.sample(f"y_{t}", pdist.Normal(level, noise), obs=y[t])


def numpyro_model(y):
    tempo = numpyro.sample("tempo", ndist.Normal(0.0, 0.5))
    noise = numpyro.sample("noise", ndist.LogNormal(-1.0, 0.4))

    def step(level, y):
        level = numpyro.sample("level", ndist.Normal(jnp.tanh(level) + tempo, 1.0))
        numpyro.sample("y", ndist.Normal(level, noise), obs=y)
        return level, None

    scan(step, jnp.zeros(()), y)


def pyro_panel_model(y):
    """Several series at once, in a plate."""
    with pyro.plate("series", y.shape[1]):
        z = torch.ones(y.shape[1])
        for t in range(len(y)):
            z = pyro.sample(f"z_{t}", pdist.Gamma(2.0, 2.0 / z))
            pyro.sample(f"y_{t}", pdist.Poisson(z), obs=y[t])


def numpyro_panel_model(y):
    """NumPyro's autoguides know no plate inside of a scan: the series are an event."""

    def step(z, y):
        z = numpyro.sample("z", ndist.Gamma(2.0, 2.0 / z).to_event(1))
        numpyro.sample("y", ndist.Poisson(z).to_event(1), obs=y)
        return z, None

    scan(step, jnp.ones(y.shape[1]), y)


def from_pyro(model, guide):
    """A program that makes an autoguide afresh."""
    return PyroProgram.build(lambda: (model, getattr(pyro_auto, guide)(model)))


def from_numpyro(model, guide):
    return NumpyroProgram.build(lambda: (model, getattr(numpyro_auto, guide)(model)))


CASE = Case(
    from_pyro(pyro_model, "AutoNormal"), from_numpyro(numpyro_model, "AutoNormal"), args=(y,)
)
CASE_SWAPPED = Case(
    from_numpyro(numpyro_model, "AutoNormal"), from_pyro(pyro_model, "AutoNormal"), args=(y,)
)
CASE_DELTA = Case(
    from_pyro(pyro_model, "AutoDelta"), from_numpyro(numpyro_model, "AutoDelta"), args=(y,)
)
CASE_MULTIVARIATE = Case(
    from_pyro(pyro_model, "AutoMultivariateNormal"),
    from_numpyro(numpyro_model, "AutoMultivariateNormal"),
    args=(y,),
)
CASE_MULTIVARIATE_SWAPPED = Case(
    from_numpyro(numpyro_model, "AutoMultivariateNormal"),
    from_pyro(pyro_model, "AutoMultivariateNormal"),
    args=(y,),
)
CASE_PANEL = Case(
    from_pyro(pyro_panel_model, "AutoNormal"),
    from_numpyro(numpyro_panel_model, "AutoNormal"),
    args=(counts,),
)
CASE_PANEL_DIAGONAL = Case(
    from_pyro(pyro_panel_model, "AutoDiagonalNormal"),
    from_numpyro(numpyro_panel_model, "AutoDiagonalNormal"),
    args=(counts,),
)
