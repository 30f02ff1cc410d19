"""A variational autoencoder: torch modules against flax linen and flax nnx."""

import flax.linen
import jax
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from flax import nnx
from jax import numpy as jnp
from numpyro.contrib.module import flax_module, nnx_module
from torch import nn

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

LATENT, HIDDEN, FEATURES = 2, 5, 6
rng = np.random.default_rng(3)
x = (rng.uniform(size=(4, FEATURES)) < 0.5).astype(float)


class TorchEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.loc = nn.Linear(HIDDEN, LATENT)
        self.log_scale = nn.Linear(HIDDEN, LATENT)

    def forward(self, x):
        h = nn.functional.gelu(self.norm(self.hidden(x)))
        return self.loc(h), 0.1 * self.log_scale(h)


def make_pyro():
    encoder = TorchEncoder()
    decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.Softplus(), nn.Linear(HIDDEN, FEATURES))

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", pdist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", pdist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x)
            pyro.sample("z", pdist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


class LinenEncoder(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        h = flax.linen.Dense(HIDDEN, name="hidden")(x)
        h = flax.linen.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="norm")(h)
        h = jax.nn.gelu(h, approximate=False)
        loc = flax.linen.Dense(LATENT, name="loc")(h)
        return loc, 0.1 * flax.linen.Dense(LATENT, name="log_scale")(h)


class LinenDecoder(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, z):
        h = jax.nn.softplus(flax.linen.Dense(HIDDEN)(z))
        return flax.linen.Dense(FEATURES)(h)


def numpyro_model(x):
    decoder = flax_module("decoder", LinenDecoder(), input_shape=(1, LATENT))
    with numpyro.plate("data", len(x)):
        z = numpyro.sample("z", ndist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
        numpyro.sample("x", ndist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)


def numpyro_guide(x):
    encoder = flax_module("encoder", LinenEncoder(), input_shape=(1, FEATURES))
    with numpyro.plate("data", len(x)):
        loc, log_scale = encoder(x)
        numpyro.sample("z", ndist.Normal(loc, jnp.exp(log_scale)).to_event(1))


class NnxEncoder(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(FEATURES, HIDDEN, rngs=rngs)
        self.norm = nnx.LayerNorm(HIDDEN, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.loc = nnx.Linear(HIDDEN, LATENT, rngs=rngs)
        self.log_scale = nnx.Linear(HIDDEN, LATENT, rngs=rngs)

    def __call__(self, x):
        h = jax.nn.gelu(self.norm(self.hidden(x)), approximate=False)
        return self.loc(h), 0.1 * self.log_scale(h)


class NnxDecoder(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(LATENT, HIDDEN, rngs=rngs)
        self.second = nnx.Linear(HIDDEN, FEATURES, rngs=rngs)

    def __call__(self, z):
        return self.second(jax.nn.softplus(self.first(z)))


def make_numpyro_nnx():
    def model(x):
        decoder = nnx_module("decoder", NnxDecoder(nnx.Rngs(0)))
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", ndist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
            numpyro.sample("x", ndist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        encoder = nnx_module("encoder", NnxEncoder(nnx.Rngs(1)))
        with numpyro.plate("data", len(x)):
            loc, log_scale = encoder(x)
            numpyro.sample("z", ndist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    return model, guide


pyro_program = PyroProgram.build(make_pyro)
numpyro_program = NumpyroProgram(numpyro_model, numpyro_guide)

CASE = Case(pyro_program, numpyro_program, args=(x,))
CASE_VECTORISED = Case(
    pyro_program, numpyro_program, args=(x,), particles=2, vectorize_particles=True
)
CASE_NNX = Case(pyro_program, NumpyroProgram.build(make_numpyro_nnx), args=(x,))
CASE_MEAN_FIELD = Case(pyro_program, numpyro_program, args=(x,), loss="TraceMeanField_ELBO")
