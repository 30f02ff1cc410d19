"""Networks as the libraries keep them: a PyroModule beside stax and flax."""

import flax.linen
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from jax.example_libraries import stax
from numpyro.contrib.module import flax_module, random_flax_module
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(15)
x, y = rng.normal(size=(5, 3)), rng.normal(size=5)


class Regression(PyroModule):
    """A learned body with a skip connection, and a head with normal weights."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.skip = PyroModule[nn.Linear](3, 2)
        self.head = PyroModule[nn.Linear](2, 1)
        self.head.weight = PyroSample(pdist.Normal(torch.zeros(1, 2), 0.7).to_event(2))
        self.head.bias = PyroSample(pdist.Normal(torch.zeros(1), 0.5).to_event(1))
        self.noise = PyroParam(torch.tensor(0.4), pdist.constraints.positive)

    def forward(self, x, y):
        mean = self.head(torch.tanh(self.body(x) + self.skip(x)))[:, 0]
        with pyro.plate("items", len(x)):
            pyro.sample("y", pdist.Normal(mean, self.noise), obs=y)


def observe(mean, y):
    noise = numpyro.param("noise", 0.4, constraint=ndist.constraints.positive)
    with numpyro.plate("items", len(y)):
        numpyro.sample("y", ndist.Normal(mean, noise), obs=y)


def stax_and_flax_model(x, y):
    layers = stax.serial(stax.Dense(4), stax.Tanh, stax.Dense(2))
    body = numpyro.module("body", layers, input_shape=(3,))
    skip = flax_module("skip", flax.linen.Dense(2), input_shape=(3,))
    priors = {"kernel": ndist.Normal(0.0, 0.7), "bias": ndist.Normal(0.0, 0.5)}
    head = random_flax_module("head", flax.linen.Dense(1), priors, input_shape=(2,))
    observe(head(jnp.tanh(body(x) + skip(x)))[:, 0], y)


def turned(values):
    return values.T


CASE = Case(
    PyroProgram.build(Regression),
    NumpyroProgram(stax_and_flax_model),
    args=(x, y),
    seeds=(0,),
    rename={"head.weight": ("head/kernel", turned, turned), "head.bias": "head/bias"},
)
