"""A Bayesian neural network: PyroModule and PyroSample against random_flax_module and plain functions."""

import flax.linen
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro.contrib.module import random_flax_module
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

IN, HIDDEN = 2, 4
rng = np.random.default_rng(18)
x = rng.normal(size=(7, IN))
y = np.tanh(x[:, 0]) - 0.5 * x[:, 1] + 0.1 * rng.normal(size=7)


def make_pyro():
    class Network(PyroModule):
        def __init__(self):
            super().__init__()
            self.first = PyroModule[nn.Linear](IN, HIDDEN)
            self.first.weight = PyroSample(pdist.Normal(0.0, 1.0).expand([HIDDEN, IN]).to_event(2))
            self.first.bias = PyroSample(pdist.Normal(0.0, 1.0).expand([HIDDEN]).to_event(1))
            self.second = PyroModule[nn.Linear](HIDDEN, 1)
            self.noise = PyroParam(torch.tensor(0.5), constraint=pdist.constraints.positive)

        def forward(self, x, y):
            mean = self.second(torch.tanh(self.first(x))).squeeze(-1)
            with pyro.plate("data", len(x)):
                pyro.sample("y", pdist.Normal(mean, self.noise), obs=y)

    model = Network()

    def guide(x, y):
        loc = pyro.param("loc", 0.3 * torch.ones(HIDDEN, IN))
        pyro.sample("first.weight", pdist.Normal(loc, 0.2).to_event(2))
        pyro.sample("first.bias", pdist.Normal(torch.zeros(HIDDEN), 0.3).to_event(1))

    return model, guide


def numpyro_model(x, y):
    prior = ndist.Normal(0.0, 1.0)
    weight = numpyro.sample("first.weight", prior.expand([HIDDEN, IN]).to_event(2))
    bias = numpyro.sample("first.bias", prior.expand([HIDDEN]).to_event(1))
    second = numpyro.param("second.weight", jnp.full((1, HIDDEN), 0.1))
    second_bias = numpyro.param("second.bias", jnp.zeros(1))
    noise = numpyro.param("noise", 0.5, constraint=ndist.constraints.positive)
    hidden = jnp.tanh(x @ weight.T + bias)
    mean = (hidden @ second.T + second_bias).squeeze(-1)
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", ndist.Normal(mean, noise), obs=y)


def numpyro_guide(x, y):
    loc = numpyro.param("loc", 0.3 * jnp.ones((HIDDEN, IN)))
    numpyro.sample("first.weight", ndist.Normal(loc, 0.2).to_event(2))
    numpyro.sample("first.bias", ndist.Normal(jnp.zeros(HIDDEN), 0.3).to_event(1))


class LinenNetwork(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        hidden = jnp.tanh(flax.linen.Dense(HIDDEN, name="first")(x))
        return flax.linen.Dense(1, name="second")(hidden).squeeze(-1)


def numpyro_flax_model(x, y):
    priors = {"first.kernel": ndist.Normal(0.0, 1.0), "first.bias": ndist.Normal(0.0, 1.0)}
    network = random_flax_module("net", LinenNetwork(), prior=priors, input_shape=(1, IN))
    noise = numpyro.param("noise", 0.5, constraint=ndist.constraints.positive)
    with numpyro.plate("data", len(x)):
        numpyro.sample("y", ndist.Normal(network(x), noise), obs=y)


def numpyro_flax_guide(x, y):
    loc = numpyro.param("loc", 0.3 * jnp.ones((IN, HIDDEN)))
    numpyro.sample("net/first.kernel", ndist.Normal(loc, 0.2).to_event(2))
    numpyro.sample("net/first.bias", ndist.Normal(jnp.zeros(HIDDEN), 0.3).to_event(1))


def make_pyro_flaxlike():
    """What random_flax_module samples, in torch: kernels (in, out), and names as flax has them."""
    second = nn.Linear(HIDDEN, 1)

    def model(x, y):
        kernel = pyro.sample(
            "net/first.kernel", pdist.Normal(0.0, 1.0).expand([IN, HIDDEN]).to_event(2)
        )
        bias = pyro.sample("net/first.bias", pdist.Normal(0.0, 1.0).expand([HIDDEN]).to_event(1))
        pyro.module("net", nn.ModuleDict({"second": second}))
        noise = pyro.param("noise", torch.tensor(0.5), constraint=pdist.constraints.positive)
        mean = second(torch.tanh(x @ kernel + bias)).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("y", pdist.Normal(mean, noise), obs=y)

    def guide(x, y):
        loc = pyro.param("loc", 0.3 * torch.ones(IN, HIDDEN))
        pyro.sample("net/first.kernel", pdist.Normal(loc, 0.2).to_event(2))
        pyro.sample("net/first.bias", pdist.Normal(torch.zeros(HIDDEN), 0.3).to_event(1))

    return model, guide


CASE = Case(PyroProgram.build(make_pyro), NumpyroProgram(numpyro_model, numpyro_guide), args=(x, y))
CASE_RANDOM_FLAX = Case(
    PyroProgram.build(make_pyro_flaxlike),
    NumpyroProgram(numpyro_flax_model, numpyro_flax_guide),
    args=(x, y),
)
