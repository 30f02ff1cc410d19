"""Names of constraints that both frameworks share, and the maps from unconstrained numbers they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import Transform

SHARED = {
    "real_vector": "real",
    "real_matrix": "real",
    "open_interval": "interval",
    "greater_than_eq": "greater_than",
    "less_than_eq": "less_than",
    "integer_nonnegative": "nonnegative_integer",
    "integer_positive": "positive_integer",
    "ordered_vector": "ordered",
    "positive_ordered_vector": "positive_ordered",
    "positive_semi_definite": "positive_semidefinite",
}
BOUNDS = ("lower_bound", "upper_bound")


def name_of(constraint: Any) -> str:
    """The shared name, without the number of event dimensions: "real", "positive", "interval", …"""
    while isinstance(constraint, constraints.independent):
        if isinstance(constraint, type(constraints.real_vector) | type(constraints.real_matrix)):
            break
        constraint = constraint.base_constraint
    words = re.findall(r"[A-Z][a-z0-9]*", type(constraint).__name__.strip("_"))
    name = "_".join(word.lower() for word in words)
    return SHARED.get(name, name)


def full_name_of(constraint: Any) -> str:
    """The shared name of a parameter's constraint, with bounds: "interval(0, 5)", "greater_than(1)".

    It stands for the map from unconstrained numbers: that of "nonnegative" is the one of "positive".
    """
    name = name_of(constraint)
    if name == "nonnegative":
        return "positive"
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if name not in ("interval", "greater_than", "less_than"):
        return name
    bounds = [getattr(constraint, bound) for bound in BOUNDS if hasattr(constraint, bound)]
    texts = (" ".join(f"{float(x):g}" for x in np.ravel(bound)) for bound in bounds)
    return f"{name}({', '.join(texts)})"


def transforms_of(constraint: Any) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """(to constrained, to unconstrained) in the coordinates in which gradients are compared.

    Those of NumPyro, but for a simplex (softmax of K numbers) and for triangular and positive definite
    matrices (the numbers of the lower triangle, in a matrix).
    """
    name = name_of(constraint)
    if name == "simplex":
        return (lambda u: jax.nn.softmax(u, axis=-1)), jnp.log
    if name == "lower_cholesky":
        return _triangular(jnp.exp), _from_triangular(jnp.log)
    if name == "softplus_lower_cholesky":
        return _triangular(jax.nn.softplus), _from_triangular(lambda x: jnp.log(jnp.expm1(x)))
    if name == "scaled_unit_lower_cholesky":  # unit triangle below the diagonal, scales on it
        return _scaled_unit, _from_scaled_unit
    if name == "positive_definite":
        tril, numbers = _triangular(jnp.exp), _from_triangular(jnp.log)
        return (lambda u: tril(u) @ tril(u).mT), (lambda x: numbers(jnp.linalg.cholesky(x)))
    transform: Transform = biject_to(constraint)
    return transform, transform.inv


def unconstrained_gradient(constraint: Any, value: Array, gradient: Array) -> Array:
    """Gradient in the coordinates of `transforms_of` from that in the constrained value."""
    constrained, unconstrained = transforms_of(constraint)
    _, pull = jax.vjp(constrained, unconstrained(value))
    return pull(gradient.astype(value.dtype))[0]


def _triangular(diagonal: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def constrained(u: Array) -> Array:
        entries = diagonal(jnp.diagonal(u, axis1=-2, axis2=-1))
        return jnp.tril(u, -1) + entries[..., None] * jnp.eye(u.shape[-1], dtype=u.dtype)

    return constrained


_from_triangular = _triangular


def _scaled_unit(u: Array) -> Array:
    scales = jax.nn.softplus(jnp.diagonal(u, axis1=-2, axis2=-1))
    return scales[..., None] * (jnp.tril(u, -1) + jnp.eye(u.shape[-1], dtype=u.dtype))


def _from_scaled_unit(x: Array) -> Array:
    scales = jnp.diagonal(x, axis1=-2, axis2=-1)
    numbers = jnp.log(jnp.expm1(scales))[..., None] * jnp.eye(x.shape[-1], dtype=x.dtype)
    return jnp.tril(x / scales[..., None], -1) + numbers
