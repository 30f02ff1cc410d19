"""The strict lower triangle of a matrix, packed in a row of M = K (K - 1) / 2 numbers, row by row.

Filling a matrix with it is a gather, and so is taking the triangle out of a matrix. Each is the
transpose of the other, which JAX is told by two primitives: by itself it would transpose a gather to
a scatter, which on a CPU is ten times slower.

On a CPU its product with a vector goes row by row, of many components (`row_products`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from numpyro_impl.programs import row_products
from twinplate.programs.triangle import (
    ROWS_ABOVE,
    fill_indices,
    packed_size,
    selectors,
    take_indices,
)

# Up to this many components the product with the packed triangle costs less than filling a matrix, or no
# more; the 0/1 matrices, which grow as K³, still are small (4 MB each in single precision at 128).
PACKED_LIMIT = 128


def fill_tril(diagonal: Array, lower: Array) -> Array:
    """Lower triangle (..., K, K): `diagonal` (..., K) and, below it, `lower` (..., M) row by row.

    `lower` may be (..., 0): then all is zero below the diagonal.
    """
    size = diagonal.shape[-1]
    tril = diagonal[..., None] * jnp.eye(size, dtype=diagonal.dtype)
    return tril + fill(lower, size) if lower.shape[-1] else tril


def packed_product(lower: Array, vector: Array) -> Array:
    """The strict lower triangle `lower` (..., M), or (..., 0) for zero, times `vector` (..., K)."""
    size = vector.shape[-1]
    if not lower.shape[-1]:
        return jnp.zeros_like(vector)
    if size > ROWS_ABOVE:
        batch = jnp.broadcast_shapes(lower.shape[:-1], vector.shape[:-1])
        given = (jnp.broadcast_to(v, (*batch, v.shape[-1])) for v in (lower, vector))
        found: Array = _product.bind(*given)
        return found
    return _product_at_once(lower, vector)


def _product_at_once(lower: Array, vector: Array) -> Array:
    size = vector.shape[-1]
    if size > PACKED_LIMIT:
        return jnp.matmul(fill(lower, size), vector[..., None])[..., 0]
    copy, add = (jnp.asarray(matrix, vector.dtype) for matrix in selectors(size))
    return (lower * (vector @ copy)) @ add


def _transposed_at_once(lower: Array, vector: Array) -> Array:
    found: Array = jax.linear_transpose(partial(_product_at_once, lower), vector)(vector)[0]
    return found


def _outer_at_once(column: Array, row: Array) -> Array:
    lower = jax.ShapeDtypeStruct((*row.shape[:-1], packed_size(row.shape[-1])), row.dtype)
    found: Array = jax.linear_transpose(lambda v: _product_at_once(v, row), lower)(column)[0]
    return found


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


def _vector_shape(lower: ShapedArray, vector: ShapedArray) -> ShapedArray:
    return vector


def _triangle_shape(column: ShapedArray, row: ShapedArray) -> ShapedArray:
    return row.update(shape=(*row.shape[:-1], packed_size(row.shape[-1])))


def _bilinear(name: str, by_rows: Any, at_once: Any, shape: Any) -> Primitive:
    """A primitive of two arrays that treats all dims to the left of their last ones alike."""
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(primitive.bind))
    primitive.def_abstract_eval(shape)
    for function, platform in ((at_once, None), (by_rows, "cpu")):
        lowering = mlir.lower_fun(function, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform=platform)

    def batched(arguments: Any, dims: Any) -> tuple[Array, int]:
        known = zip(arguments, dims, strict=True)
        (size, *_) = (array.shape[dim] for array, dim in known if dim is not None)
        ahead = [
            jnp.broadcast_to(array, (size, *array.shape))
            if dim is None
            else jnp.moveaxis(array, dim, 0)
            for array, dim in zip(arguments, dims, strict=True)
        ]
        return primitive.bind(*ahead), 0

    batching.primitive_batchers[primitive] = batched
    return primitive


_product = _bilinear("triangle_product", row_products.product, _product_at_once, _vector_shape)
_transposed = _bilinear(
    "triangle_transposed", row_products.transposed, _transposed_at_once, _vector_shape
)
_outer = _bilinear("triangle_outer", row_products.outer, _outer_at_once, _triangle_shape)
# The derivative by the first argument, and by the second: each is one of the others.
ad.defbilinear(
    _product,
    lambda given, lower, vector: _outer.bind(given, vector),
    lambda given, lower, vector: _transposed.bind(lower, given),
)
ad.defbilinear(
    _transposed,
    lambda given, lower, vector: _outer.bind(vector, given),
    lambda given, lower, vector: _product.bind(lower, given),
)
ad.defbilinear(
    _outer,
    lambda given, column, row: _product.bind(given, row),
    lambda given, column, row: _transposed.bind(given, column),
)
