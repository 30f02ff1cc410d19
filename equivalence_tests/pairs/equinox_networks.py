"""Regressions on a network that is torch's in Pyro and equinox' in NumPyro: learned, or sampled."""

import equinox as eqx
import jax
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro.contrib.module import eqx_module, random_eqx_module
from pyro.nn import PyroModule, PyroSample
from torch import nn

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

INPUTS, HIDDEN = 3, 4
rng = np.random.default_rng(34)
x, y = rng.normal(size=(6, INPUTS)), rng.normal(size=6)


class TorchNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(INPUTS, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.heads = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.Softplus(), nn.Linear(HIDDEN, 2))

    def forward(self, x):
        return self.heads(torch.tanh(self.norm(self.first(x))))


def make_pyro():
    net = TorchNet()

    def model(x, y):
        pyro.module("net", net)
        shift = pyro.sample("shift", pdist.Normal(0.0, 1.0))
        with pyro.plate("items", len(x)):
            loc, log_scale = net(x).unbind(-1)
            pyro.sample("y", pdist.StudentT(4.0, loc + shift, log_scale.exp()), obs=y)

    def guide(x, y):
        loc = pyro.param("loc", torch.tensor(0.1))
        pyro.sample("shift", pdist.Normal(loc, 0.3))

    return model, guide


class EquinoxNet(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    heads: eqx.nn.MLP

    def __init__(self, key):
        first, heads = jax.random.split(key)
        self.first = eqx.nn.Linear(INPUTS, HIDDEN, key=first)
        self.norm = eqx.nn.LayerNorm(HIDDEN)
        self.heads = eqx.nn.MLP(HIDDEN, 2, HIDDEN, 1, activation=jax.nn.softplus, key=heads)

    def __call__(self, x):
        return self.heads(jnp.tanh(self.norm(self.first(x))))


def make_numpyro():
    whole = EquinoxNet(jax.random.key(0))

    def model(x, y):
        net = eqx_module("net", whole)
        shift = numpyro.sample("shift", ndist.Normal(0.0, 1.0))
        with numpyro.plate("items", len(x)):
            loc, log_scale = jax.vmap(net)(x).T
            numpyro.sample("y", ndist.StudentT(4.0, loc + shift, jnp.exp(log_scale)), obs=y)

    def guide(x, y):
        loc = numpyro.param("loc", 0.1)
        numpyro.sample("shift", ndist.Normal(loc, 0.3))

    return model, guide


class Random(PyroModule):
    """Two layers, each weight and bias with a prior of its own."""

    def __init__(self):
        super().__init__()
        self.first = PyroModule[nn.Linear](INPUTS, HIDDEN)
        self.last = PyroModule[nn.Linear](HIDDEN, 1)
        for layer in (self.first, self.last):
            shape = tuple(layer.weight.shape)
            layer.weight = PyroSample(pdist.Normal(0.0, 0.7).expand(shape).to_event(2))
            layer.bias = PyroSample(pdist.Normal(0.0, 0.5).expand(shape[:1]).to_event(1))

    def forward(self, x, y):
        mean = self.last(torch.tanh(self.first(x)))[:, 0]
        with pyro.plate("items", len(x)):
            pyro.sample("y", pdist.Normal(mean, 0.4), obs=y)


def make_numpyro_random():
    whole = eqx.nn.MLP(INPUTS, 1, HIDDEN, 1, activation=jnp.tanh, key=jax.random.key(1))

    def prior(name, shape):
        return ndist.Normal(0.0, 0.7 if name.endswith("weight") else 0.5)

    def model(x, y):
        mean = jax.vmap(random_eqx_module("net", whole, prior))(x)[:, 0]
        with numpyro.plate("items", len(x)):
            numpyro.sample("y", ndist.Normal(mean, 0.4), obs=y)

    return model


CASE = Case(
    PyroProgram.build(make_pyro), NumpyroProgram.build(make_numpyro), args=(x, y), seeds=(0,)
)
CASE_RANDOM = Case(
    PyroProgram.build(Random),
    NumpyroProgram.build(make_numpyro_random),
    args=(x, y),
    seeds=(0,),
    rename={
        f"{layer}.{kind}": f"net/layers[{number}].{kind}"
        for number, layer in enumerate(("first", "last"))
        for kind in ("weight", "bias")
    },
)
