"""Recursions of 200 steps: an autoregression, and a Kalman filter as a factor."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import lax
from jax import numpy as jnp

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(14)
y = np.zeros(200)
for t in range(1, 200):
    y[t] = 0.9 * y[t - 1] + rng.normal()


def pyro_autoregression(y):
    phi = pyro.sample("phi", pdist.Uniform(-1.0, 1.0))
    sigma = pyro.sample("sigma", pdist.HalfNormal(2.0))
    level = torch.zeros(())
    levels = []
    for t in range(len(y)):
        levels.append(level)
        level = phi * level + 0.1 * torch.tanh(y[t] - level)
    with pyro.plate("time", len(y)):
        pyro.sample("y", pdist.Normal(torch.stack(levels), sigma), obs=y)


def numpyro_autoregression(y):
    phi = numpyro.sample("phi", ndist.Uniform(-1.0, 1.0))
    sigma = numpyro.sample("sigma", ndist.HalfNormal(2.0))

    def step(level, y):
        return phi * level + 0.1 * jnp.tanh(y - level), level

    _, levels = lax.scan(step, jnp.zeros(()), y)
    with numpyro.plate("time", len(y)):
        numpyro.sample("y", ndist.Normal(levels, sigma), obs=y)


def pyro_kalman(y):
    q = pyro.sample("q", pdist.LogNormal(0.0, 1.0))
    r = pyro.sample("r", pdist.LogNormal(0.0, 1.0))
    mean, variance, total = torch.zeros(()), torch.ones(()), torch.zeros(())
    for t in range(len(y)):
        variance = variance + q
        spread = variance + r
        total = total + pdist.Normal(mean, spread.sqrt()).log_prob(y[t])
        gain = variance / spread
        mean = mean + gain * (y[t] - mean)
        variance = (1.0 - gain) * variance
    pyro.factor("y", total)
    pyro.deterministic("last", mean)


def numpyro_kalman(y):
    q = numpyro.sample("q", ndist.LogNormal(0.0, 1.0))
    r = numpyro.sample("r", ndist.LogNormal(0.0, 1.0))

    def step(state, y):
        mean, variance = state
        variance = variance + q
        spread = variance + r
        density = ndist.Normal(mean, jnp.sqrt(spread)).log_prob(y)
        gain = variance / spread
        return (mean + gain * (y - mean), (1.0 - gain) * variance), density

    (mean, _), densities = lax.scan(step, (jnp.zeros(()), jnp.ones(())), y)
    numpyro.factor("y", densities.sum())
    numpyro.deterministic("last", mean)


CASE = Case(PyroProgram(pyro_autoregression), NumpyroProgram(numpyro_autoregression), args=(y,))
CASE_KALMAN = Case(PyroProgram(pyro_kalman), NumpyroProgram(numpyro_kalman), args=(y,))
