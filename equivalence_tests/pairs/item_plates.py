"""One normal per item in the question's own model: by hand, automatic, in a VAE, in two plates of items."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from flax import nnx
from jax import numpy as jnp
from numpyro.contrib.module import nnx_module
from torch import nn

import numpyro_impl
import pyro_impl
from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

N, D, K = 9, 4, 3
rng = np.random.default_rng(6)
LOADINGS = rng.normal(size=(D, K))
images = rng.normal(size=(N, D))
ratings = rng.normal(size=(5, 4))

# -- the question: components in a plate, here with a contrast, and a guide by joint_sample -------------


def pyro_model(images, batch_size=None):
    loadings = torch.tensor(LOADINGS).to(images)
    with pyro.plate("mini_batch", len(images), subsample_size=batch_size, dim=-1):
        x = pyro.subsample(images, event_dim=1)
        contrast = pyro.sample("contrast", pdist.LogNormal(0.0, 0.5))
        with pyro.plate("components", K, dim=-2):
            a = pyro.sample("a", pdist.Normal(0.0, 1.0))
        mean = contrast[..., None] * (pyro_impl.items_first(a) @ loadings.mT)
        pyro.sample("x", pdist.Normal(mean, 1.0).to_event(1), obs=x)


def pyro_guide(images, batch_size=None):
    weight = pyro.param("weight", 0.1 * torch.ones(K + 1, D))
    scale = pyro.param("scale", 0.3 * torch.ones(K + 1), constraint=pdist.constraints.positive)
    lower = pyro.param("lower", 0.1 * torch.ones(K * (K + 1) // 2))
    components = pyro.plate("components", K, dim=-2)
    sites = {
        "contrast": pyro_impl.Local(pdist.constraints.positive),
        "a": pyro_impl.Local(plates=[components]),
    }
    with pyro.plate("mini_batch", len(images), subsample_size=batch_size, dim=-1):
        x = pyro.subsample(images, event_dim=1)
        normal = pyro_impl.PackedMultivariateNormal(x @ weight.mT, scale, lower)
        pyro_impl.joint_sample("joint", normal, sites)


def numpyro_model(images, batch_size=None):
    loadings = jnp.asarray(LOADINGS, images.dtype)
    with numpyro.plate("mini_batch", len(images), subsample_size=batch_size, dim=-1):
        x = numpyro.subsample(images, event_dim=1)
        contrast = numpyro.sample("contrast", ndist.LogNormal(0.0, 0.5))
        with numpyro.plate("components", K, dim=-2):
            a = numpyro.sample("a", ndist.Normal(0.0, 1.0))
        mean = contrast[..., None] * (numpyro_impl.items_first(a) @ loadings.mT)
        numpyro.sample("x", ndist.Normal(mean, 1.0).to_event(1), obs=x)


def numpyro_guide(images, batch_size=None):
    weight = numpyro.param("weight", 0.1 * jnp.ones((K + 1, D)))
    scale = numpyro.param("scale", 0.3 * jnp.ones(K + 1), constraint=ndist.constraints.positive)
    lower = numpyro.param("lower", 0.1 * jnp.ones(K * (K + 1) // 2))
    components = numpyro.plate("components", K, dim=-2)
    sites = {
        "contrast": numpyro_impl.Local(ndist.constraints.positive),
        "a": numpyro_impl.Local(plates=[components]),
    }
    with numpyro.plate("mini_batch", len(images), subsample_size=batch_size, dim=-1):
        x = numpyro.subsample(images, event_dim=1)
        normal = numpyro_impl.PackedMultivariateNormal(x @ weight.mT, scale, lower)
        numpyro_impl.joint_sample("joint", normal, sites)


def make_pyro():
    torch.manual_seed(0)
    return pyro_model, pyro_impl.AutoAmortizedNormal(pyro_model, "mini_batch", nn.Linear(D, 5))


def make_numpyro():
    encoder = nnx.Linear(D, 5, rngs=nnx.Rngs(0))
    return numpyro_model, numpyro_impl.AutoAmortizedNormal(numpyro_model, "mini_batch", encoder)


# -- a VAE with a posterior that is correlated -----------------------------------------------------------


def make_pyro_vae():
    torch.manual_seed(0)
    decoder = nn.Linear(K, D)

    def model(images):
        pyro.module("decoder", decoder)
        with pyro.plate("mini_batch", len(images), dim=-1):
            z = pyro.sample("z", pdist.Normal(torch.zeros(K), 1.0).to_event(1))
            pyro.sample("x", pdist.Normal(torch.tanh(decoder(z)), 0.5).to_event(1), obs=images)

    return model, pyro_impl.AutoAmortizedNormal(model, "mini_batch", nn.Linear(D, 5))


def make_numpyro_vae():
    decoder = nnx.Linear(K, D, rngs=nnx.Rngs(0))

    def model(images):
        decode = nnx_module("decoder", decoder)
        with numpyro.plate("mini_batch", len(images), dim=-1):
            z = numpyro.sample("z", ndist.Normal(jnp.zeros(K), 1.0).to_event(1))
            numpyro.sample("x", ndist.Normal(jnp.tanh(decode(z)), 0.5).to_event(1), obs=images)

    encoder = nnx.Linear(D, 5, rngs=nnx.Rngs(0))
    return model, numpyro_impl.AutoAmortizedNormal(model, "mini_batch", encoder)


# -- two plates of items: people and films, each with two latents of its own ----------------------------


def pyro_crossed(ratings):
    people = pyro.plate("people", len(ratings), dim=-2)
    films = pyro.plate("films", ratings.shape[1], dim=-1)
    with people:
        taste = pyro.sample("taste", pdist.Normal(0.0, 1.0))
        care = pyro.sample("care", pdist.LogNormal(0.0, 0.3))
    with films:
        appeal = pyro.sample("appeal", pdist.Normal(0.0, 1.0))
        quality = pyro.sample("quality", pdist.Normal(0.0, 1.0))
    with people, films:
        pyro.sample("y", pdist.Normal(quality + taste * appeal, care), obs=ratings)


def numpyro_crossed(ratings):
    people = numpyro.plate("people", len(ratings), dim=-2)
    films = numpyro.plate("films", ratings.shape[1], dim=-1)
    with people:
        taste = numpyro.sample("taste", ndist.Normal(0.0, 1.0))
        care = numpyro.sample("care", ndist.LogNormal(0.0, 0.3))
    with films:
        appeal = numpyro.sample("appeal", ndist.Normal(0.0, 1.0))
        quality = numpyro.sample("quality", ndist.Normal(0.0, 1.0))
    with people, films:
        numpyro.sample("y", ndist.Normal(quality + taste * appeal, care), obs=ratings)


def _same(x):
    return x


def make_pyro_crossed():
    def films(model):
        return pyro_impl.AutoAmortizedNormal(model, "films", prefix="films")

    guide = pyro_impl.AutoAmortizedNormal(pyro_crossed, "people", _same, global_guide=films)
    return pyro_crossed, guide


def make_numpyro_crossed():
    def films(model):
        return numpyro_impl.AutoAmortizedNormal(model, "films", prefix="films")

    guide = numpyro_impl.AutoAmortizedNormal(numpyro_crossed, "people", _same, global_guide=films)
    return numpyro_crossed, guide


CASE = Case(
    PyroProgram(pyro_model, pyro_guide),
    NumpyroProgram(numpyro_model, numpyro_guide),
    args=(images, 4),
)
CASE_AUTOMATIC = Case(
    PyroProgram.build(make_pyro), NumpyroProgram.build(make_numpyro), args=(images, 4)
)
CASE_VAE = Case(
    PyroProgram.build(make_pyro_vae), NumpyroProgram.build(make_numpyro_vae), args=(images,)
)
CASE_CROSSED = Case(
    PyroProgram.build(make_pyro_crossed),
    NumpyroProgram.build(make_numpyro_crossed),
    args=(ratings,),
)
