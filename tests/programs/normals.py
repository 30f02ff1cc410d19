"""The multivariate normals under test: numbers for each family, the family from them, SciPy's density.

"packed" is the one from the numbers of its triangle; "diagonal" the same without any below the diagonal.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from triangles import filled

SIZES = [  # family, K, R
    ("full", 1, None),
    ("full", 4, None),
    ("packed", 1, None),
    ("packed", 4, None),
    ("diagonal", 4, None),
    ("low-rank", 1, 1),
    ("low-rank", 4, 1),
    ("low-rank", 4, 2),
    ("low-rank", 4, 4),
]
sizes = pytest.mark.parametrize(("family", "k", "r"), SIZES)
FAMILIES = ["full", "packed", "diagonal", "low-rank"]
families = pytest.mark.parametrize("family", FAMILIES)


def is_packed(parameters):
    """loc, scale and lower, rather than loc, cov_factor and cov_diag."""
    return len(parameters) == 3 and parameters[2].shape[-1] != parameters[0].shape[-1]


def numbers(family, k=4, r=2, batch=(), seed=0):
    """Parameters in NumPy: loc and scale_tril; loc, scale and lower; or loc, cov_factor and cov_diag."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(size=(*batch, k))
    if family in ("packed", "diagonal"):
        lower = rng.normal(size=(*batch, k * (k - 1) // 2 if family == "packed" else 0))
        return [loc, rng.uniform(0.3, 2.0, (*batch, k)), lower]
    if family == "full":
        tril = np.tril(rng.normal(size=(*batch, k, k)), -1)
        return [loc, tril + rng.uniform(0.3, 2.0, (*batch, k))[..., None] * np.eye(k)]
    return [loc, rng.normal(size=(*batch, k, r)), rng.uniform(0.3, 2.0, (*batch, k))]


def covariance(parameters):
    if is_packed(parameters):
        tril = filled(*parameters[1:])
        return tril @ tril.mT
    if len(parameters) == 2:
        return parameters[1] @ parameters[1].mT
    _, factor, diagonal = parameters
    return factor @ factor.mT + diagonal[..., None] * np.eye(diagonal.shape[-1])


def make(module, parameters):
    """The family of these parameters, ours or the stock one; in JAX by one program for all operations."""
    if hasattr(parameters[0], "new_tensor"):
        return _made(module, *parameters)
    import jax

    return jax.jit(_made, static_argnums=0)(module, *parameters)


def _made(module, *parameters):
    if is_packed(parameters):
        if hasattr(module, "PackedMultivariateNormal"):
            return module.PackedMultivariateNormal(*parameters)
        return module.MultivariateNormal(parameters[0], scale_tril=tril_of(*parameters[1:]))
    if len(parameters) == 2:
        return module.MultivariateNormal(parameters[0], scale_tril=parameters[1])
    return module.LowRankMultivariateNormal(*parameters)


def scipy_log_prob(parameters, value):
    """Elementwise log density over all leading dims of `value`, parameters broadcast against it."""
    k = value.shape[-1]
    batch = value.shape[:-1]
    loc = np.broadcast_to(parameters[0], (*batch, k)).reshape(-1, k)
    cov = np.broadcast_to(covariance(parameters), (*batch, k, k)).reshape(-1, k, k)
    rows = zip(value.reshape(-1, k), loc, cov, strict=True)
    return np.array([scipy.stats.multivariate_normal.logpdf(*row) for row in rows]).reshape(batch)


def tril_of(scale, lower):
    """A native triangle, differentiable, by the framework's own plain operations."""
    k = scale.shape[-1]
    rows, columns = np.tril_indices(k, -1)
    place = np.zeros((len(rows), k, k))
    place[np.arange(len(rows)), rows, columns] = 1
    constant = getattr(scale, "new_tensor", np.asarray)
    tril = scale[..., None] * constant(np.eye(k))
    return tril + (lower[..., None, None] * constant(place)).sum(-3) if lower.shape[-1] else tril


def natives(twin, parameters, precision="float64"):
    return [twin.array(p, precision) for p in parameters]
