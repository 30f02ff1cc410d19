"""Small moves of constrained values: by constraint or support name, in NumPy.

A value is moved along its unconstrained image, so that it stays in its support. Values whose constraint
is not listed here are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from twinplate.verification.matching.edges import POSITIVE, kept_inside

Array = npt.NDArray[Any]

JITTER = 0.1  # standard deviation of a parameter's move, unconstrained
STRETCH = 4.0  # of unconstrained values, for the stress draw


def jitter(values: npt.ArrayLike, constraint: str, rng: np.random.Generator) -> Array:
    """Move values of a parameter a little: equal seeds give equal moves, whatever made the values.

    constraint: its name, with bounds where it has some: "interval(0, 5)".
    """
    values = np.asarray(values, dtype=np.float64)
    noise = JITTER * rng.standard_normal(values.shape)
    name, _, bounds = constraint.rstrip(")").partition("(")
    move = MOVES.get(name)
    return values if move is None else np.asarray(move(values, noise, *_bounds(bounds, values)))


def _bounds(text: str, values: Array) -> list[Array]:
    numbers = [np.array(bound.split(), dtype=np.float64) for bound in text.split(",") if bound]
    return [n.reshape(values.shape) if n.size == values.size else n[0] for n in numbers]


def _real(values: Array, noise: Array) -> Array:
    return values + noise


def _positive(values: Array, noise: Array) -> Array:
    return values * np.exp(noise)


def _interval(values: Array, noise: Array, low: Array, high: Array) -> Array:
    return low + (high - low) * scipy.special.expit(_logit((values - low) / (high - low)) + noise)


def _simplex(values: Array, noise: Array) -> Array:
    return scipy.special.softmax(np.log(np.maximum(values, 1e-300)) + noise, axis=-1)


def _ordered(values: Array, noise: Array) -> Array:
    """The first value is moved, and the steps to the next ones are stretched."""
    first = values[..., :1] + noise[..., :1]
    steps = np.diff(values, axis=-1) * np.exp(noise[..., 1:])
    return np.cumsum(np.concatenate([first, steps], axis=-1), axis=-1)


def _positive_ordered(values: Array, noise: Array) -> Array:
    steps = np.diff(values, axis=-1, prepend=0.0) * np.exp(noise)
    return np.cumsum(steps, axis=-1)


def _diagonal(matrices: Array) -> Array:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def _unit_lower_cholesky(values: Array, noise: Array) -> Array:
    return np.tril(values + noise, -1) + np.eye(values.shape[-1])


def _lower_cholesky(values: Array, noise: Array) -> Array:
    diagonal = _diagonal(values) * np.exp(_diagonal(noise))
    return np.tril(values + noise, -1) + diagonal[..., None] * np.eye(values.shape[-1])


def _corr_cholesky(values: Array, noise: Array) -> Array:
    """Each row is moved below the diagonal, then scaled to norm 1 again."""
    moved = _unit_lower_cholesky(values / _diagonal(values)[..., None], noise)
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True)


def _by_factor(move: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    def moved(values: Array, noise: Array) -> Array:
        tril = move(np.linalg.cholesky(values), noise)
        return tril @ np.swapaxes(tril, -1, -2)

    return moved


MOVES: dict[str, Callable[..., Array]] = {
    "real": _real,
    **dict.fromkeys(POSITIVE, _positive),
    "unit_interval": lambda values, noise: scipy.special.expit(_logit(values) + noise),
    "interval": _interval,
    "greater_than": lambda values, noise, low: low + (values - low) * np.exp(noise),
    "less_than": lambda values, noise, high: high - (high - values) * np.exp(noise),
    "simplex": _simplex,
    "ordered": _ordered,
    "positive_ordered": _positive_ordered,
    "lower_cholesky": _lower_cholesky,
    "softplus_lower_cholesky": _lower_cholesky,
    "unit_lower_cholesky": _unit_lower_cholesky,
    "corr_cholesky": _corr_cholesky,
    "corr_matrix": _by_factor(_corr_cholesky),
    "positive_definite": _by_factor(_lower_cholesky),
}


def stressed(
    values: npt.NDArray[Any], support: str, arguments: Mapping[str, Array] | None = None
) -> npt.NDArray[Any]:
    """A draw moved outwards in unconstrained space, to reach branches that ordinary draws do not.

    It stays inside the support by the distance that `kept_inside` keeps.
    """
    inside = kept_inside(values, support, arguments)
    return kept_inside(_stretched(inside, support), support, arguments)


def _stretched(values: npt.NDArray[Any], support: str) -> npt.NDArray[Any]:
    if support == "real":
        return STRETCH * values
    if support in POSITIVE:
        return np.exp(STRETCH * np.log(np.asarray(values, dtype=np.float64)))
    if support == "unit_interval":
        return np.asarray(scipy.special.expit(STRETCH * _logit(values)))
    if support == "simplex":
        return np.asarray(scipy.special.softmax(STRETCH * np.log(values), axis=-1))
    return values


def is_corr_cholesky(values: Array) -> bool:
    """Whether values are lower triangles with rows of norm 1."""
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or np.triu(values, 1).any():
        return False
    return np.allclose(np.linalg.norm(values, axis=-1), 1.0, rtol=0.0, atol=1e-12)


def unconstrained(values: npt.ArrayLike, support: str) -> Array | None:
    """The unconstrained image of values, element by element; None for a support that has no such map."""
    values = np.asarray(values, dtype=np.float64)
    if support == "real":
        return values
    if support in POSITIVE:
        return np.log(values)
    if support == "unit_interval":
        return np.asarray(scipy.special.logit(values))
    return None


def _logit(values: npt.ArrayLike) -> Array:
    edge = np.finfo(np.float64).eps
    return np.asarray(
        scipy.special.logit(np.clip(np.asarray(values, dtype=np.float64), edge, 1 - edge))
    )
