"""Images of a flexible particle: how bright each is, and how far its parts have moved.

Contrast and components are correlated given a noisy image; the guide's one normal per image has that. Draws a
picture of what it says of new images: reconstructions, posterior correlations, and how often its intervals
hold the truth. Usage: images_numpyro.py [PICTURE.png]
"""

import sys

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import nnx
from images_data import NOISE, PARTICLE, PARTS, K, new_images, train_images
from images_picture import coverage, draw
from numpyro.infer import SVI, Trace_ELBO

from numpyro_impl import AutoAmortizedNormal, items_first, predict

matplotlib.use("Agg")
particle, parts = jnp.asarray(PARTICLE), jnp.asarray(PARTS)  # (D,) and (D, K)


def model(images, batch_size=None):
    """Pixels (B, D): a contrast times the particle with its parts moved by `a` (K, B), and noise."""
    with numpyro.plate("mini_batch", len(images), subsample_size=batch_size, dim=-1):
        pixels = numpyro.subsample(images, event_dim=1)
        contrast = numpyro.sample("contrast", dist.LogNormal(0.0, 0.3))
        with numpyro.plate("components", K, dim=-2):
            a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        clean = contrast[..., None] * (particle + items_first(a) @ parts.mT)
        numpyro.sample("pixels", dist.Normal(clean, NOISE).to_event(1), obs=pixels)


images, new = jnp.asarray(train_images.pixels), jnp.asarray(new_images.pixels)
rngs = nnx.Rngs(0)
layers = [
    nnx.Linear(images.shape[1], 64, rngs=rngs),
    nnx.silu,
    nnx.Linear(64, 64, rngs=rngs),
    nnx.silu,
]
guide = AutoAmortizedNormal(model, "mini_batch", nnx.Sequential(*layers))
svi = SVI(model, guide, numpyro.optim.Adam(3e-3), Trace_ELBO())
fit = svi.run(jax.random.key(0), 1500, images, batch_size=100, progress_bar=False)

normal = guide.posterior(fit.params, new)  # of a_1, a_2, a_3 and log contrast, for each image
loc, covariance = np.asarray(normal.loc), np.asarray(normal.covariance_matrix)
draws = predict(
    jax.random.key(1), fit.params, model, guide, new, plate="mini_batch", num_samples=100
)
contrast, a = np.asarray(draws["contrast"]), np.asarray(draws["a"])  # (100, N) and (100, K, N)
clean = contrast[..., None] * (PARTICLE + a.swapaxes(1, 2) @ PARTS.T)

held = coverage(loc, covariance, new_images)
print(f"90 % intervals hold the true components and contrast of new images: {100 * held:.0f} %")
error = np.sqrt(np.mean((clean.mean(0) - new_images.clean) ** 2)) / NOISE
print(f"error of a reconstruction: {error:.2f} of the noise")
if sys.argv[1:]:
    draw(sys.argv[1], new_images, clean, loc, covariance)
