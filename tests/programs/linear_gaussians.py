"""Random linear Gaussian models, and dense references for their closed forms.

The references condition the joint Gaussian of (a, x), in covariance form; the code under test works
with precisions.
"""

import numpy as np
from scipy import stats

from twinplate.programs.linear_gaussian import Gaussian, LinearGaussian

NAN = float("nan")


def make_model(num_features: int, num_components: int, seed: int) -> LinearGaussian:
    """Nothing is zero, one or equal: a shifted and scaled prior, heteroscedastic noise."""
    rng = np.random.default_rng(seed)
    return LinearGaussian(
        loadings=rng.normal(size=(num_features, num_components)),
        intercept=rng.normal(size=num_features),
        noise_scale=rng.uniform(0.3, 1.5, num_features),
        loc=rng.normal(size=num_components),
        scale=rng.uniform(0.4, 2.0, num_components),
    )


def make_items(num_items: int, num_features: int, seed: int) -> np.ndarray:
    """Items of which each entry is missing with probability ½."""
    rng = np.random.default_rng([1, seed])
    x = 2 * rng.normal(size=(num_items, num_features))
    x[rng.random(x.shape) < 0.5] = NAN
    return x


def make_guide(num_items: int, num_components: int, seed: int) -> Gaussian:
    rng = np.random.default_rng([2, seed])
    tril = np.tril(0.5 * rng.normal(size=(num_items, num_components, num_components)), -1)
    scales = rng.uniform(0.3, 1.2, (num_items, num_components))
    tril = tril + scales[:, :, None] * np.eye(num_components)
    return Gaussian(rng.normal(size=scales.shape), tril)


def marginal(model: LinearGaussian) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of x."""
    covariance = model.loadings @ np.diag(model.scale**2) @ model.loadings.T
    mean = model.loadings @ model.loc + model.intercept
    return mean, covariance + np.diag(model.noise_scale**2)


def dense_posterior(model: LinearGaussian, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a | observed x, by the gain Cov(a, x) Cov(x)⁻¹."""
    seen = ~np.isnan(item)
    mean, covariance = marginal(model)
    cross = np.diag(model.scale**2) @ model.loadings[seen].T
    gain = cross @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    return model.loc + gain @ (item - mean)[seen], np.diag(model.scale**2) - gain @ cross.T


def log_joint(model: LinearGaussian, item: np.ndarray, a: np.ndarray) -> np.ndarray:
    """log p(observed x, a) for `a` (..., K)."""
    seen = ~np.isnan(item)
    mean = (a @ model.loadings.T + model.intercept)[..., seen]
    likelihood = stats.norm.logpdf(item[seen], mean, model.noise_scale[seen])
    return likelihood.sum(-1) + stats.norm.logpdf(a, model.loc, model.scale).sum(-1)
