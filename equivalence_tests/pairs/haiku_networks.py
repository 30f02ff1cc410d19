"""A variational autoencoder whose networks are torch's in Pyro and Haiku's in NumPyro.

Haiku's parameters are a dictionary for each layer, in `numpyro.param`: NumPyro 0.22 has no `haiku_module`.
"""

import haiku as hk
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from torch import nn

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

LATENT, HIDDEN, FEATURES = 2, 4, 5
rng = np.random.default_rng(33)
x = rng.poisson(3.0, size=(4, FEATURES)).astype(float)


class TorchEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.loc = nn.Linear(HIDDEN, LATENT)
        self.log_scale = nn.Linear(HIDDEN, LATENT)

    def forward(self, x):
        h = torch.tanh(self.norm(self.hidden(x.log1p())))
        return self.loc(h), self.log_scale(h)


def make_pyro():
    encoder = TorchEncoder()
    decoder = nn.Sequential(
        nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
        nn.Linear(HIDDEN, FEATURES),
    )  # fmt: skip

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("cells", len(x)):
            z = pyro.sample("z", pdist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", pdist.Poisson(decoder(z).exp()).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("cells", len(x)):
            loc, log_scale = encoder(x)
            pyro.sample("z", pdist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


def encode(x):
    h = hk.Linear(HIDDEN, name="hidden")(jnp.log1p(x))
    h = jnp.tanh(hk.LayerNorm(-1, create_scale=True, create_offset=True, name="norm")(h))
    return hk.Linear(LATENT, name="loc")(h), hk.Linear(LATENT, name="log_scale")(h)


def decode(z):
    return hk.nets.MLP([HIDDEN, HIDDEN, FEATURES])(z)


encoder = hk.without_apply_rng(hk.transform(encode))
decoder = hk.without_apply_rng(hk.transform(decode))


def numpyro_model(x):
    weights = numpyro.param("decoder$params", lambda key: decoder.init(key, jnp.ones(LATENT)))
    with numpyro.plate("cells", len(x)):
        z = numpyro.sample("z", ndist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
        rate = jnp.exp(decoder.apply(weights, z))
        numpyro.sample("x", ndist.Poisson(rate).to_event(1), obs=x)


def numpyro_guide(x):
    weights = numpyro.param("encoder$params", lambda key: encoder.init(key, x))
    with numpyro.plate("cells", len(x)):
        loc, log_scale = encoder.apply(weights, x)
        numpyro.sample("z", ndist.Normal(loc, jnp.exp(log_scale)).to_event(1))


CASE = Case(
    PyroProgram.build(make_pyro),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(x,),
    seeds=(0,),
)
