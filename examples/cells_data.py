"""Simulated counts of genes in single cells, for `cells_pyro.py` and `cells_numpyro.py`."""

import numpy as np

GENES, K, DISPERSION = 30, 2, 5.0
_rng = np.random.default_rng(0)
_shared = _rng.gamma(
    2.0, 0.2, size=(GENES, 1)
)  # genes that both programs turn on, and the depth too
LOADINGS = 0.7 * (_shared + _rng.gamma(2.0, 0.2, size=(GENES, K)))  # (G, K)
BASE = _rng.normal(0.0, 0.7, size=GENES)  # log counts of a usual cell
DEPTH_SD = 0.5


def simulate(n, seed):
    """Counts (N, G) of `n` cells, and the true log library size and programs of each (N, 1 + K)."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 1 + K)) * [DEPTH_SD, *[1.0] * K]
    mean = np.exp(latent[:, :1] + BASE + latent[:, 1:] @ LOADINGS.T)
    return rng.poisson(rng.gamma(DISPERSION, mean / DISPERSION)), latent


def true_correlations(counts):
    """Of each cell's latents given its counts, (N, 1 + K, 1 + K): sums over a grid of all three."""
    axes = [np.linspace(-2.5, 2.5, 41), *[np.linspace(-4.0, 4.0, 51)] * K]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 1 + K)
    log_mean = grid[:, :1] + BASE + grid[:, 1:] @ LOADINGS.T
    log_prior = -0.5 * ((grid / [DEPTH_SD, *[1.0] * K]) ** 2).sum(1)
    log_total = np.logaddexp(log_mean, np.log(DISPERSION))
    log_joint = log_prior + counts @ log_mean.T - (counts + DISPERSION) @ log_total.T  # (N, grid)
    weight = np.exp(log_joint - log_joint.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    middle = grid - (weight @ grid)[:, None]
    return correlation(np.einsum("ng,ngi,ngj->nij", weight, middle, middle, optimize=True))


def correlation(covariance):
    """(..., D, D) of covariances."""
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    return covariance / (scale[..., None] * scale[..., None, :])


train_counts, _ = simulate(2000, 1)
new_counts, new_latents = simulate(50, 2)


def tell(loc, covariance, predicted):
    """Print what the guide says of new cells beside the truth, and counts (S, N, G) that it predicts."""
    pairs = np.tril_indices(1 + K, -1)
    guide, true = (
        c[(slice(None), *pairs)] for c in (correlation(covariance), true_correlations(new_counts))
    )
    print("correlations of the new cells' latents, on average of the cells: guide, truth")
    names = ["library size, program 1", "library size, program 2", "program 1, program 2"]
    for name, a, b in zip(names, guide.mean(0), true.mean(0), strict=True):
        print(f"  {name:24s} {a:5.2f} {b:5.2f}")
    print(f"off by, root mean square over cells: {np.sqrt(np.mean((guide - true) ** 2)):.2f}")
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    held = np.abs(new_latents - loc) < 1.645 * scale
    print(f"90 % intervals hold the true latents of new cells: {100 * held.mean():.0f} %")
    zeros = [100 * np.mean(counts == 0) for counts in (predicted, new_counts)]
    print("zeros among the counts of new cells: predicted {:.0f} %, seen {:.0f} %".format(*zeros))
