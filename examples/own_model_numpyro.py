"""A model of one's own: components in a plate and a contrast for each image; a guide before and after.

Before, all latents of an item are independent in the guide; after, one multivariate normal joins them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import nnx
from numpyro.infer import SVI, Trace_ELBO

from numpyro_impl import AutoAmortizedNormal, items_first, predict

K, D = 3, 8  # components, features
rng = np.random.default_rng(0)
parts = rng.normal(size=(D, 1)) + 0.5 * rng.normal(size=(D, K))  # that overlap
contrast = np.exp(0.3 * rng.normal(size=(1050, 1)))
data = contrast * (rng.normal(size=(1050, K)) @ parts.T) + 0.5 * rng.normal(size=(1050, D))
loadings, data = jnp.array(parts), jnp.array(data)
train, new = data[:1000], data[1000:]


def model(data, batch_size=None):
    """Images `x` (B, D): a contrast times the components `a` (K, B), with noise."""
    with numpyro.plate("mini_batch", len(data), subsample_size=batch_size, dim=-1):
        x = numpyro.subsample(data, event_dim=1)
        contrast = numpyro.sample("contrast", dist.LogNormal(0.0, 0.3))
        with numpyro.plate("components", K, dim=-2):
            a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        mean = contrast[..., None] * (items_first(a) @ loadings.mT)
        numpyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)


def trained(covariance):
    """The guide and its parameters after 600 steps; prints its loss."""
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(D, 32, rngs=rngs), nnx.silu, nnx.Linear(32, 32, rngs=rngs), nnx.silu]
    guide = AutoAmortizedNormal(model, "mini_batch", nnx.Sequential(*layers), covariance=covariance)
    svi = SVI(model, guide, numpyro.optim.Adam(1e-2), Trace_ELBO())
    fit = svi.run(jax.random.key(0), 600, train, batch_size=100, progress_bar=False)
    losses = np.asarray(fit.losses) / len(train)
    print(f"{covariance:8s} ELBO per item {-np.mean(losses[-100:]):.1f}")
    return guide, fit.params


trained("diagonal")
guide, params = trained("full")

normal = guide.posterior(params, new)  # 50 items never seen: over a_1, a_2, a_3 and log contrast
covariance = np.asarray(normal.covariance_matrix)  # (50, 4, 4)
scale = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
correlation = covariance / (scale[:, :, None] * scale[:, None, :])
strongest = np.abs(correlation - np.eye(4)).max((1, 2)).mean()
print(f"strongest correlation within an item: {strongest:.1f} on average")

key = jax.random.key(1)
draws = predict(key, params, model, guide, new, plate="mini_batch", num_samples=200)
low, high = np.quantile(draws["x"], [0.05, 0.95], axis=0)  # (50, 8) each
inside = np.mean((low < new) & (new < high))
print(f"within the posterior predictive's 90 %: {100 * inside:.0f} % of the new images' pixels")
