"""NumPyro programs of others, for the compiled runs: each makes (model, guide, loss) afresh."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from flax import linen, nnx
from numpyro import handlers
from numpyro.contrib.module import flax_module, nnx_module
from numpyro.distributions import constraints
from numpyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, autoguide

ITEMS, FEATURES = 12, 3


def data(shift=0.0):
    x = jnp.sin(jnp.linspace(-1, 1, ITEMS * FEATURES)).reshape(ITEMS, FEATURES) + shift
    return x, x @ jnp.array([1.0, -2.0, 0.5]) + 0.1 * jnp.cos(jnp.arange(float(ITEMS)))


def regression(x, y):
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([FEATURES]).to_event(1))
    noise = numpyro.sample("noise", dist.Gamma(2.0, 2.0))
    with numpyro.plate("items", len(x)):
        numpyro.sample("y", dist.Normal(x @ weights, noise), obs=y)


def with_autoguide(guide, loss=Trace_ELBO, **settings):
    return lambda: (regression, guide(regression), loss(**settings))


def subsampling():
    """The plate draws its indices itself."""

    def model(x, y):
        slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
        with numpyro.plate("items", ITEMS, subsample_size=5) as items:
            local = numpyro.sample("local", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(slope * x[items, 0] + local, 0.5), obs=y[items])

    def guide(x, y):
        loc = numpyro.param("slope_loc", 0.3)
        numpyro.sample("slope", dist.Normal(loc, 0.2))
        locs = numpyro.param("local_loc", jnp.zeros(ITEMS))
        with numpyro.plate("items", ITEMS, subsample_size=5) as items:
            numpyro.sample("local", dist.Normal(locs[items], 0.3))

    return model, guide, Trace_ELBO()


def score_function():
    """A discrete site in the guide, next to a continuous one."""

    def model(x, y):
        switch = numpyro.sample("switch", dist.Bernoulli(0.4))
        slope = numpyro.sample("slope", dist.Normal(switch, 1.0))
        with numpyro.plate("items", len(x)):
            numpyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)

    def guide(x, y):
        p = numpyro.param("p", 0.5, constraint=constraints.unit_interval)
        numpyro.sample("switch", dist.Bernoulli(p))
        numpyro.sample("slope", dist.Normal(numpyro.param("loc", 0.1), 0.5))

    return model, guide, TraceGraph_ELBO()


def gamma_beta():
    """Constrained parameters; sites that are reparametrised by implicit gradients."""

    def model(x, y):
        rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        share = numpyro.sample("share", dist.Beta(2.0, 3.0))
        weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(FEATURES)))
        top = numpyro.param("top", 0.4, constraint=constraints.interval(-1.0, 2.0))
        with numpyro.plate("items", len(x)):
            numpyro.sample("y", dist.Normal(share * (x @ weights) + top, rate), obs=y)

    def guide(x, y):
        positive = constraints.positive
        a = numpyro.param("a", jnp.array([2.0, 1.5, 1.2, 2.5]), constraint=positive)
        numpyro.sample("rate", dist.Gamma(a[0], a[1]))
        numpyro.sample("share", dist.Beta(a[2], a[3]))
        b = numpyro.param("b", jnp.full((FEATURES,), 1.5), constraint=positive)
        numpyro.sample("weights", dist.Dirichlet(b))

    return model, guide, Trace_ELBO()


def masked_scaled():
    """A mask and a scale by handler, a factor, a mask in the distribution."""
    keep = jnp.arange(ITEMS) % 3 > 0

    def model(x, y):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        numpyro.factor("prior", -0.1 * jnp.abs(slope))
        with numpyro.plate("items", len(x)), handlers.scale(scale=2.5):
            with handlers.mask(mask=keep):
                numpyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)
            numpyro.sample("z", dist.Normal(slope, 1.0).mask(~keep), obs=y)

    def guide(x, y):
        scale = numpyro.param("scale", 0.4, constraint=constraints.positive)
        with handlers.scale(scale=0.5):
            numpyro.sample("slope", dist.Normal(numpyro.param("loc", 0.1), scale))

    return model, guide, Trace_ELBO()


def encoder_decoder(encode):
    """A small variational autoencoder; `encode(x)` calls the encoder."""

    def model(x, y):
        decoder = flax_module("decoder", linen.Dense(FEATURES), input_shape=(1, 2))
        with numpyro.plate("items", len(x)):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            numpyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x, y):
        out = encode(x)
        with numpyro.plate("items", len(x)):
            numpyro.sample("z", dist.Normal(out[:, :2], jnp.exp(out[:, 2:])).to_event(1))

    return model, guide, Trace_ELBO()


def dropout():
    """flax's older modules, which are given a key."""

    class Encoder(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(4)(linen.Dropout(0.5, deterministic=False)(x))

    def encode(x):
        net = flax_module("encoder", Encoder(), apply_rng=["dropout"], input_shape=(1, FEATURES))
        return net(x, rngs={"dropout": numpyro.prng_key()})

    return encoder_decoder(encode)


def batch_norm():
    """State that changes with every step, and is no parameter."""

    class Encoder(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(4)(linen.BatchNorm(use_running_average=False)(x))

    def encode(x):
        shape = (1, FEATURES)
        net = flax_module("encoder", Encoder(), mutable=["batch_stats"], input_shape=shape)
        return net(x)

    return encoder_decoder(encode)


def newer_flax():
    """nnx, with a dropout that keeps its own key and counter."""
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Dropout(0.3, rngs=rngs), nnx.Linear(FEATURES, 4, rngs=rngs))
    return encoder_decoder(lambda x: nnx_module("encoder", net)(x))


CASES = {
    "AutoNormal": with_autoguide(autoguide.AutoNormal),
    "AutoMultivariateNormal": with_autoguide(autoguide.AutoMultivariateNormal),
    "AutoDelta": with_autoguide(autoguide.AutoDelta),
    "mean field": with_autoguide(autoguide.AutoNormal, TraceMeanField_ELBO),
    "particles": with_autoguide(autoguide.AutoLowRankMultivariateNormal, num_particles=3),
    "subsampling": subsampling,
    "score function": score_function,
    "Gamma, Beta, Dirichlet": gamma_beta,
    "mask and scale": masked_scaled,
    "dropout": dropout,
    "batch norm": batch_norm,
    "newer flax": newer_flax,
}
