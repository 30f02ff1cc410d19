"""Images of a flexible particle: how bright each is, and how far its parts have moved.

Contrast and components are correlated given a noisy image; the guide's one normal per image has that. Draws a
picture of what it says of new images: reconstructions, posterior correlations, and how often its intervals
hold the truth. Usage: images_pyro.py [PICTURE.png]
"""

import sys

import matplotlib
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from images_data import NOISE, PARTICLE, PARTS, K, new_images, train_images
from images_picture import coverage, draw
from pyro.infer import Trace_ELBO

from pyro_impl import AutoAmortizedNormal, CompiledSVI, items_first, predict

matplotlib.use("Agg")
particle, parts = (torch.tensor(v, dtype=torch.float32) for v in (PARTICLE, PARTS))  # (D,), (D, K)


def model(images, batch_size=None):
    """Pixels (B, D): a contrast times the particle with its parts moved by `a` (K, B), and noise."""
    with pyro.plate("mini_batch", len(images), subsample_size=batch_size, dim=-1):
        pixels = pyro.subsample(images, event_dim=1)
        contrast = pyro.sample("contrast", dist.LogNormal(0.0, 0.3))
        with pyro.plate("components", K, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
        clean = contrast[..., None] * (particle + items_first(a) @ parts.mT)
        pyro.sample("pixels", dist.Normal(clean, NOISE).to_event(1), obs=pixels)


images, new = (torch.tensor(d.pixels, dtype=torch.float32) for d in (train_images, new_images))
pyro.set_rng_seed(0)
layers = [torch.nn.Linear(images.shape[1], 64), torch.nn.SiLU(), torch.nn.Linear(64, 64)]
guide = AutoAmortizedNormal(model, "mini_batch", torch.nn.Sequential(*layers, torch.nn.SiLU()))
svi = CompiledSVI(model, guide, pyro.optim.Adam({"lr": 3e-3}), Trace_ELBO())
for _ in range(1500):
    svi.step(images, batch_size=100)

with torch.no_grad():
    normal = guide.posterior(new)  # of a_1, a_2, a_3 and log contrast, for each image
    loc, covariance = normal.loc.numpy(), normal.covariance_matrix.numpy()
    draws = predict(model, guide, new, plate="mini_batch", num_samples=100)
contrast, a = draws["contrast"].numpy(), draws["a"].numpy()  # (100, N) and (100, K, N)
clean = contrast[..., None] * (PARTICLE + a.swapaxes(1, 2) @ PARTS.T)

held = coverage(loc, covariance, new_images)
print(f"90 % intervals hold the true components and contrast of new images: {100 * held:.0f} %")
error = np.sqrt(np.mean((clean.mean(0) - new_images.clean) ** 2)) / NOISE
print(f"error of a reconstruction: {error:.2f} of the noise")
if sys.argv[1:]:
    draw(sys.argv[1], new_images, clean, loc, covariance)
