"""The strict lower triangle of a matrix, packed in a row of M = K (K - 1) / 2 numbers, times a vector.

The product takes few operations: two products with 0/1 matrices, or of many components a filled matrix. On a
CPU large mini-batches with many components go row by row (`row_products`).
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
from numpyro_impl.programs.filling import fill
from twinplate.programs.triangle import (
    ROWS_ABOVE,
    ROWS_FROM,
    check_product,
    own_numbers,
    packed_size,
    selectors,
)

# Up to this many components the product with the packed triangle costs less than filling a matrix, or no
# more; the 0/1 matrices, which grow as K³, still are small (4 MB each in single precision at 128).
PACKED_LIMIT = 128


def packed_product(lower: Array, vector: Array) -> Array:
    """The strict lower triangle `lower` (..., M), or (..., 0) for zero, times `vector` (..., K).

    Raises InputError if `lower` has another length.
    """
    check_product(lower.shape, vector.shape)
    if not lower.shape[-1]:
        return jnp.zeros_like(vector)
    if not _by_rows(lower, vector):
        return _product_at_once(lower, vector)
    batch = jnp.broadcast_shapes(lower.shape[:-1], vector.shape[:-1])
    dtype = jnp.result_type(lower, vector)
    given = (jnp.asarray(v, dtype) for v in (lower, vector))  # of no weak type either
    found: Array = _product.bind(*(jnp.broadcast_to(v, (*batch, v.shape[-1])) for v in given))
    return found


def _by_rows(lower: Array, vector: Array) -> bool:
    is_large = vector.shape[-1] > ROWS_ABOVE and own_numbers(lower.shape, vector.shape) >= ROWS_FROM
    return is_large and _varying_axes(lower) == _varying_axes(vector)


def _varying_axes(array: Array) -> Any:
    """The axes of a mesh over which `array` varies inside of `jax.shard_map`."""
    kind = jax.typeof(array)
    return getattr(kind, "manual_axis_type", getattr(kind, "vma", None))  # the earlier name: vma


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


def _vector_shape(lower: ShapedArray, vector: ShapedArray) -> ShapedArray:
    return vector


def _triangle_shape(column: ShapedArray, row: ShapedArray) -> ShapedArray:
    return row.update(shape=(*row.shape[:-1], packed_size(row.shape[-1])))


def _filled_product(lower: Array, vectors: Array) -> Array:
    return jnp.matmul(fill(lower, vectors.shape[-2]), vectors)


def _filled_transposed(lower: Array, vectors: Array) -> Array:
    return jnp.matmul(fill(lower, vectors.shape[-2]).mT, vectors)


def _bilinear(name: str, by_rows: Any, at_once: Any, shape: Any, filled: Any = None) -> Primitive:
    """A primitive of two arrays that treats all dims to the left of their last ones alike.

    filled: the same with one triangle (..., M) and many vectors (..., K, N), for jax.vmap.
    """
    primitive = Primitive(name)
    compiled = jax.jit(primitive.bind)

    def run(*arguments: Array) -> Any:
        with jax.disable_jit(False):  # it would end up here again
            return compiled(*arguments)

    primitive.def_impl(run)
    primitive.def_abstract_eval(shape)
    for function, platform in ((at_once, None), (by_rows, "cpu")):
        lowering = mlir.lower_fun(function, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform=platform)

    def batched(arguments: Any, dims: Any) -> tuple[Array, int]:
        if filled and dims[0] is None:
            vectors = jnp.moveaxis(arguments[1], dims[1], -1)
            return filled(arguments[0], vectors), vectors.ndim - 1
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


_product = _bilinear(
    "triangle_product",
    row_products.product,
    _product_at_once,
    _vector_shape,
    _filled_product,
)
_transposed = _bilinear(
    "triangle_transposed",
    row_products.transposed,
    _transposed_at_once,
    _vector_shape,
    _filled_transposed,
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
