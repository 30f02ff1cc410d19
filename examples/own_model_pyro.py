"""A model of one's own: components in a plate and a contrast for each image; a guide before and after.

Before, all latents of an item are independent in the guide; after, one multivariate normal joins them.
"""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyro_impl import AutoAmortizedNormal, items_first, predict

K, D = 3, 8  # components, features
rng = np.random.default_rng(0)
parts = rng.normal(size=(D, 1)) + 0.5 * rng.normal(size=(D, K))  # that overlap
contrast = np.exp(0.3 * rng.normal(size=(1050, 1)))
data = contrast * (rng.normal(size=(1050, K)) @ parts.T) + 0.5 * rng.normal(size=(1050, D))
loadings, data = torch.tensor(parts).float(), torch.tensor(data).float()
train, new = data[:1000], data[1000:]


def model(data, batch_size=None):
    """Images `x` (B, D): a contrast times the components `a` (K, B), with noise."""
    with pyro.plate("mini_batch", len(data), subsample_size=batch_size, dim=-1):
        x = pyro.subsample(data, event_dim=1)
        contrast = pyro.sample("contrast", dist.LogNormal(0.0, 0.3))
        with pyro.plate("components", K, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
        mean = contrast[..., None] * (items_first(a) @ loadings.mT)
        pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)


def trained(covariance):
    """The guide after 600 steps; prints its loss."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    encoder = nn.Sequential(nn.Linear(D, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU())
    guide = AutoAmortizedNormal(model, "mini_batch", encoder, covariance=covariance)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    losses = [svi.step(train, batch_size=100) / len(train) for _ in range(600)]
    print(f"{covariance:8s} ELBO per item {-np.mean(losses[-100:]):.1f}")
    return guide


trained("diagonal")
guide = trained("full")

normal = guide.posterior(new)  # 50 items never seen: over a_1, a_2, a_3 and log contrast
covariance = normal.covariance_matrix.detach().numpy()  # (50, 4, 4)
scale = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
correlation = covariance / (scale[:, :, None] * scale[:, None, :])
strongest = np.abs(correlation - np.eye(4)).max((1, 2)).mean()
print(f"strongest correlation within an item: {strongest:.1f} on average")

draws = predict(model, guide, new, plate="mini_batch", num_samples=200)
low, high = np.quantile(draws["x"].numpy(), [0.05, 0.95], axis=0)  # (50, 8) each
inside = np.mean((low < new.numpy()) & (new.numpy() < high))
print(f"within the posterior predictive's 90 %: {100 * inside:.0f} % of the new images' pixels")
