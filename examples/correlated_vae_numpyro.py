"""A variational autoencoder with the usual guide, independent latents, and then with a correlated one.

The decoder's lines are positive, as spectra are, and overlap: which of two neighbours is in a spectrum is
known less well than both together. (A decoder free to turn its axes would hide that from the usual guide.)
The model is linear and Gaussian: the log evidence is known exactly, and with it what each guide misses, in
its bound and in the decoder that was trained with it.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from correlated_vae_data import NOISE, D, K, first_lines, spectra, tell
from flax import nnx
from numpyro.contrib.module import nnx_module
from numpyro.distributions import constraints
from numpyro.infer import SVI, Trace_ELBO

from numpyro_impl import AutoAmortizedNormal

data, start = jnp.asarray(spectra), jnp.asarray(first_lines)


def model(x, batch_size=None):
    """Spectra (B, D): a decoder's lines (D, K) times latents `z` (B, K), with noise."""
    lines = numpyro.param("lines", start, constraint=constraints.positive)
    with numpyro.plate("items", len(x), subsample_size=batch_size):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(K), 1.0).to_event(1))
        batch = numpyro.subsample(x, event_dim=1)
        numpyro.sample("x", dist.Normal(z @ lines.mT, NOISE).to_event(1), obs=batch)


def hidden_layers(*last):
    """From spectra to features, and through `last`."""
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(D, 32, rngs=rngs), nnx.silu, nnx.Linear(32, 32, rngs=rngs), nnx.silu]
    return nnx.Sequential(*layers, *last)


def usual():
    """The guide as one writes it: a mean and a scale of each latent."""
    encoder = hidden_layers(nnx.Linear(32, 2 * K, rngs=nnx.Rngs(1)))

    def guide(x, batch_size=None):
        apply = nnx_module("encoder", encoder)
        with numpyro.plate("items", len(x), subsample_size=batch_size):
            loc, log_scale = jnp.split(apply(numpyro.subsample(x, event_dim=1)), 2, axis=-1)
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    return guide


def correlated():
    """One multivariate normal per item, and nothing else changes."""
    encoder = hidden_layers()
    return AutoAmortizedNormal(model, "items", encoder)


def trained(make):
    """Nats per item after 1,500 steps; prints them beside the log evidence."""
    guide = make()
    svi = SVI(model, guide, numpyro.optim.Adam(5e-3), Trace_ELBO())
    fit = svi.run(jax.random.key(0), 1500, data, batch_size=100, progress_bar=False)
    loss = Trace_ELBO(num_particles=50).loss
    elbo = -loss(jax.random.key(1), fit.params, model, guide, data) / len(data)
    tell(make.__name__, elbo, fit.params["lines"])
    return elbo


before, after = trained(usual), trained(correlated)
print(f"gained: {after - before:.2f} nats per item")
