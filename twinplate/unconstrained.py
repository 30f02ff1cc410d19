"""Small moves of constrained values: by constraint or support name, in NumPy.

A value moves along its unconstrained image, so that it stays where it belongs. Names that are not
listed stay put: their values are used as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, softmax  # type: ignore[import-untyped]

Array = npt.NDArray[np.float64]

JITTER = 0.1  # standard deviation of a parameter's move, unconstrained
STRETCH = 4.0  # of unconstrained values, for the stress draw

POSITIVE = ("positive", "nonnegative", "softplus_positive")


def jitter(values: npt.ArrayLike, constraint: str, rng: np.random.Generator) -> Array:
    """Move values of a parameter a little: equal seeds give equal moves, whatever made the values."""
    values = np.asarray(values, dtype=np.float64)
    noise = JITTER * rng.standard_normal(values.shape)
    if constraint == "real":
        return values + noise
    if constraint in POSITIVE:
        return values * np.exp(noise)
    if constraint == "unit_interval":
        return np.asarray(expit(_logit(values) + noise))
    if constraint == "simplex":
        return np.asarray(softmax(np.log(np.maximum(values, 1e-300)) + noise, axis=-1))
    if constraint in ("lower_cholesky", "softplus_lower_cholesky", "unit_lower_cholesky"):
        below = np.tril(values + noise, -1)
        diagonal = np.diagonal(values, axis1=-2, axis2=-1)
        if constraint != "unit_lower_cholesky":
            diagonal = diagonal * np.exp(np.diagonal(noise, axis1=-2, axis2=-1))
        return below + diagonal[..., None] * np.eye(values.shape[-1])
    return values


def stressed(values: npt.NDArray[Any], support: str) -> npt.NDArray[Any]:
    """A draw moved outwards in unconstrained space, to reach branches that ordinary draws do not."""
    if support == "real":
        return STRETCH * values
    if support in POSITIVE:
        return np.exp(STRETCH * np.log(np.maximum(np.asarray(values, dtype=np.float64), 1e-300)))
    if support == "unit_interval":
        return np.asarray(expit(STRETCH * _logit(values)))
    if support == "simplex":
        logs = np.log(np.maximum(np.asarray(values, dtype=np.float64), 1e-300))
        return np.asarray(softmax(STRETCH * logs, axis=-1))
    return values


def unconstrained(values: npt.ArrayLike, support: str) -> Array | None:
    """The unconstrained image of values, elementwise; None for supports not listed."""
    values = np.asarray(values, dtype=np.float64)
    if support == "real":
        return values
    if support in POSITIVE:
        return np.log(values)
    if support == "unit_interval":
        return np.asarray(logit(values))
    return None


def _logit(values: npt.ArrayLike) -> Array:
    edge = np.finfo(np.float64).eps
    return np.asarray(logit(np.clip(np.asarray(values, dtype=np.float64), edge, 1 - edge)))
