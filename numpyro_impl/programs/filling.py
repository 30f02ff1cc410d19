"""Lower triangles as matrices: filled with a packed triangle (..., M), row by row, M = K (K - 1) / 2.

Filling a matrix with it is a gather, and so is taking the triangle out of a matrix. Each is the
transpose of the other, which JAX is told by two primitives: by itself it would transpose a gather to
a scatter, which on a CPU is ten times slower.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from twinplate.programs.triangle import fill_indices, packed_size, take_indices


def fill_tril(diagonal: Array, lower: Array) -> Array:
    """Lower triangle (..., K, K): `diagonal` (..., K) and, below it, `lower` (..., M) row by row.

    `lower` may be (..., 0): then all is zero below the diagonal.
    """
    size = diagonal.shape[-1]
    tril = diagonal[..., None] * jnp.eye(size, dtype=diagonal.dtype)
    return tril + fill(lower, size) if lower.shape[-1] else tril


def fill(lower: Array, size: int) -> Array:
    """(..., M) to (..., K, K), zero on the diagonal and above."""
    return _fill.bind(lower, size=size)


def _fill_by_gather(lower: Array, *, size: int) -> Array:
    padded = jnp.pad(lower, [(0, 0)] * (lower.ndim - 1) + [(0, 1)])
    indices = fill_indices(size)  # M, the zero at the end, where nothing is filled in
    return jnp.take(padded, indices, axis=-1, mode="clip").reshape(*lower.shape[:-1], size, size)


def _take_by_gather(matrix: Array) -> Array:
    size = matrix.shape[-1]
    flat = matrix.reshape(*matrix.shape[:-2], size * size)
    return jnp.take(flat, take_indices(size), axis=-1, mode="clip")


def _fill_shape(lower: ShapedArray, *, size: int) -> ShapedArray:
    return lower.update(shape=(*lower.shape[:-1], size, size))


def _take_shape(matrix: ShapedArray) -> ShapedArray:
    return matrix.update(shape=(*matrix.shape[:-2], packed_size(matrix.shape[-1])))


def _linear(name: str, function: Any, shape: Any) -> Primitive:
    """A linear primitive that treats all dims to the left of its own alike."""
    primitive = Primitive(name)
    primitive.def_impl(function)
    primitive.def_abstract_eval(shape)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))

    def batched(arguments: Any, dims: Any, **size: int) -> tuple[Array, int]:
        return primitive.bind(jnp.moveaxis(arguments[0], dims[0], 0), **size), 0

    batching.primitive_batchers[primitive] = batched
    return primitive


_fill = _linear("fill_strict_triangle", _fill_by_gather, _fill_shape)
_take = _linear("take_strict_triangle", _take_by_gather, _take_shape)
ad.deflinear2(_fill, lambda cotangent, lower, *, size: [_take.bind(cotangent)])
ad.deflinear2(_take, lambda cotangent, matrix: [_fill.bind(cotangent, size=matrix.aval.shape[-1])])
