"""Programs that a framework gets wrong under another loss, in silence; these losses are right in both."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from numpyro import handlers
from numpyro.contrib.funsor import config_enumerate
from pyro import poutine

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

y = np.array([0.4, 1.9, -0.7])
N = len(y)
TRIL = np.array([[0.5, 0.0], [0.2, 0.4]])


def pyro_pairs(y):
    """`size` is positive: the guide maps a normal number to it."""
    with pyro.plate("items", N):
        size = pyro.sample("size", pdist.LogNormal(0.0, 1.0))
        shift = pyro.sample("shift", pdist.Normal(0.0, 2.0))
        pyro.sample("y", pdist.Normal(size + shift, 1.0), obs=y)


def pyro_pairs_guide(y):
    loc = pyro.param("loc", torch.tensor([[0.1, 0.3], [0.4, -0.2], [0.0, 0.5]]))
    with pyro.plate("items", N):
        pair = pdist.MultivariateNormal(loc, scale_tril=torch.as_tensor(TRIL).to(loc.dtype))
        pair = pyro.sample("pair", pair, infer={"is_auxiliary": True})
        size = pair[..., 0].exp()
        pyro.sample("size", pdist.Delta(size, log_density=-pair[..., 0]))
        pyro.sample("shift", pdist.Delta(pair[..., 1]))


def numpyro_pairs(y):
    with numpyro.plate("items", N):
        size = numpyro.sample("size", ndist.LogNormal(0.0, 1.0))
        shift = numpyro.sample("shift", ndist.Normal(0.0, 2.0))
        numpyro.sample("y", ndist.Normal(size + shift, 1.0), obs=y)


def numpyro_pairs_guide(y):
    loc = numpyro.param("loc", jnp.array([[0.1, 0.3], [0.4, -0.2], [0.0, 0.5]]))
    with numpyro.plate("items", N):
        pair = ndist.MultivariateNormal(loc, scale_tril=jnp.asarray(TRIL, loc.dtype))
        pair = numpyro.sample("pair", pair, infer={"is_auxiliary": True})
        size = jnp.exp(pair[..., 0])
        numpyro.sample("size", ndist.Delta(size, log_density=-pair[..., 0]))
        numpyro.sample("shift", ndist.Delta(pair[..., 1]))


CASE = Case(
    PyroProgram(pyro_pairs, pyro_pairs_guide),
    NumpyroProgram(numpyro_pairs, numpyro_pairs_guide),
    args=(y,),
)

# -- items, each with a latent of its own, all of them or two in a step --------------------------------


def pyro_items(y, batch=None):
    with pyro.plate("items", N, subsample_size=batch):
        shift = pyro.sample("shift", pdist.Normal(0.0, 2.0))
        pyro.sample("y", pdist.Normal(shift, 1.0), obs=pyro.subsample(y, event_dim=0))


def pyro_items_guide(y, batch=None):
    loc = pyro.param("loc", torch.tensor([0.1, 0.4, -0.2]))
    with pyro.plate("items", N, subsample_size=batch):
        near = pdist.Normal(pyro.subsample(loc, event_dim=0), 0.7)
        near = pyro.sample("near", near, infer={"is_auxiliary": True})
        pyro.sample("shift", pdist.Delta(near))


def numpyro_items(y, batch=None):
    with numpyro.plate("items", N, subsample_size=batch):
        shift = numpyro.sample("shift", ndist.Normal(0.0, 2.0))
        numpyro.sample("y", ndist.Normal(shift, 1.0), obs=numpyro.subsample(y, event_dim=0))


def numpyro_items_guide(y, batch=None):
    loc = numpyro.param("loc", jnp.array([0.1, 0.4, -0.2]))
    with numpyro.plate("items", N, subsample_size=batch):
        near = ndist.Normal(numpyro.subsample(loc, event_dim=0), 0.7)
        near = numpyro.sample("near", near, infer={"is_auxiliary": True})
        numpyro.sample("shift", ndist.Delta(near))


CASE_ITEMS = Case(
    PyroProgram(pyro_items, pyro_items_guide),
    NumpyroProgram(numpyro_items, numpyro_items_guide),
    args=(y,),
    loss="RenyiELBO",
    alpha=0.5,
    particles=3,
)
CASE_BATCHES = Case(
    PyroProgram(pyro_items, pyro_items_guide),
    NumpyroProgram(numpyro_items, numpyro_items_guide),
    args=(y, 2),
    particles=3,
    vectorize_particles=True,
)

# -- three times over: discrete sites, of which the guide sums out every case --------------------------


def pyro_switches(y):
    with poutine.scale(scale=3.0), pyro.plate("items", N):
        on = pyro.sample("on", pdist.Bernoulli(0.3))
        pyro.sample("y", pdist.Normal(2.0 * on, 1.0), obs=y)


def pyro_switches_guide(y):
    logit = pyro.param("logit", torch.tensor(0.4))
    with poutine.scale(scale=3.0), pyro.plate("items", N):
        pyro.sample("on", pdist.Bernoulli(logits=logit))


def numpyro_switches(y):
    with handlers.scale(scale=3.0), numpyro.plate("items", N):
        on = numpyro.sample("on", ndist.Bernoulli(0.3))
        numpyro.sample("y", ndist.Normal(2.0 * on, 1.0), obs=y)


def numpyro_switches_guide(y):
    logit = numpyro.param("logit", 0.4)
    with handlers.scale(scale=3.0), numpyro.plate("items", N):
        numpyro.sample("on", ndist.Bernoulli(logits=logit))


CASE_SWITCHES = Case(
    PyroProgram(pyro_switches, pyro.infer.config_enumerate(pyro_switches_guide)),
    NumpyroProgram(numpyro_switches, config_enumerate(numpyro_switches_guide)),
    args=(y,),
    loss="TraceEnum_ELBO",
)

# -- a latent that counts in the model for some items only ---------------------------------------------


def pyro_masked(y, seen):
    with pyro.plate("items", N):
        with poutine.mask(mask=seen):
            noise = pyro.sample("noise", pdist.Normal(0.0, 1.0))
        pyro.sample("y", pdist.Normal(noise, 1.0), obs=y)


def pyro_masked_guide(y, seen):
    loc = pyro.param("loc", torch.tensor(0.2))
    with pyro.plate("items", N):
        pyro.sample("noise", pdist.Normal(loc, 0.5))


def numpyro_masked(y, seen):
    with numpyro.plate("items", N):
        with handlers.mask(mask=seen):
            noise = numpyro.sample("noise", ndist.Normal(0.0, 1.0))
        numpyro.sample("y", ndist.Normal(noise, 1.0), obs=y)


def numpyro_masked_guide(y, seen):
    loc = numpyro.param("loc", 0.2)
    with numpyro.plate("items", N):
        numpyro.sample("noise", ndist.Normal(loc, 0.5))


CASE_MASKED = Case(
    PyroProgram(pyro_masked, pyro_masked_guide),
    NumpyroProgram(numpyro_masked, numpyro_masked_guide),
    args=(y, np.array([True, True, False])),
)
