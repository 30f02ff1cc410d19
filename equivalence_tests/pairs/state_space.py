"""A nonlinear time series: a loop in Pyro, a scan in NumPyro, z_0 … z_T against one stacked z."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro.contrib.control_flow import scan

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(4)
y = np.cumsum(rng.normal(size=6)) + 0.3 * rng.normal(size=6)


def pyro_model(y):
    drift = pyro.sample("drift", pdist.Normal(0.0, 0.5))
    noise = pyro.sample("noise", pdist.LogNormal(-1.0, 0.4))
    z = torch.tensor(0.0)
    for t in range(len(y)):
        z = pyro.sample(f"z_{t}", pdist.Normal(torch.tanh(z) + drift, 1.0))
        pyro.sample(f"y_{t}", pdist.Normal(z, noise), obs=y[t])


def pyro_guide(y):
    gain = pyro.param("gain", torch.tensor(0.8))
    width = pyro.param("width", 0.4 * torch.ones(len(y)), constraint=pdist.constraints.positive)
    pyro.sample("drift", pdist.Normal(gain, 0.2))
    pyro.sample("noise", pdist.LogNormal(-0.9, 0.3))
    for t in range(len(y)):
        pyro.sample(f"z_{t}", pdist.Normal(gain * y[t], width[t]))


def numpyro_model(y):
    drift = numpyro.sample("drift", ndist.Normal(0.0, 0.5))
    noise = numpyro.sample("noise", ndist.LogNormal(-1.0, 0.4))

    def step(z, y):
        z = numpyro.sample("z", ndist.Normal(jnp.tanh(z) + drift, 1.0))
        numpyro.sample("y", ndist.Normal(z, noise), obs=y)
        return z, None

    scan(step, jnp.zeros(()), y)


def numpyro_guide(y):
    gain = numpyro.param("gain", 0.8)
    width = numpyro.param("width", 0.4 * jnp.ones(len(y)), constraint=ndist.constraints.positive)
    numpyro.sample("drift", ndist.Normal(gain, 0.2))
    numpyro.sample("noise", ndist.LogNormal(-0.9, 0.3))

    def step(carry, inputs):
        y, width = inputs
        numpyro.sample("z", ndist.Normal(gain * y, width))
        return carry, None

    scan(step, None, (y, width))


def numpyro_loop_model(y):
    drift = numpyro.sample("drift", ndist.Normal(0.0, 0.5))
    noise = numpyro.sample("noise", ndist.LogNormal(-1.0, 0.4))
    z = 0.0
    for t in range(len(y)):
        z = numpyro.sample(f"z_{t}", ndist.Normal(jnp.tanh(z) + drift, 1.0))
        numpyro.sample(f"y_{t}", ndist.Normal(z, noise), obs=y[t])


def pyro_panel_model(y):
    """Several series at once, in a plate."""
    with pyro.plate("series", y.shape[1]):
        z = torch.zeros(y.shape[1])
        for t in pyro.markov(range(len(y))):
            z = pyro.sample(f"z_{t}", pdist.StudentT(4.0, 0.9 * z, 0.7))
            pyro.sample(f"y_{t}", pdist.Poisson(torch.exp(0.3 * z)), obs=y[t])


def numpyro_panel_model(y):
    def step(z, y):
        with numpyro.plate("series", y.shape[0]):
            z = numpyro.sample("z", ndist.StudentT(4.0, 0.9 * z, 0.7))
            numpyro.sample("y", ndist.Poisson(jnp.exp(0.3 * z)), obs=y)
        return z, None

    scan(step, jnp.zeros(y.shape[1]), y)


counts = np.random.default_rng(5).poisson(2.0, size=(4, 3))
pyro_program = PyroProgram(pyro_model, pyro_guide)

CASE = Case(pyro_program, NumpyroProgram(numpyro_model, numpyro_guide), args=(y,))
CASE_SWAPPED = Case(NumpyroProgram(numpyro_model, numpyro_guide), pyro_program, args=(y,))
CASE_MCMC = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_loop_model), args=(y,))
CASE_PANEL = Case(
    PyroProgram(pyro_panel_model), NumpyroProgram(numpyro_panel_model), args=(counts,)
)
