"""Products with a packed triangle, row by row: what is read and written is the triangle alone, once.

Filled to a matrix, a triangle of many components is twice as large, and neither it nor its gradient stay in a
processor's cache. The three products are linear in both arguments and each other's derivatives
(`numpyro_impl.programs.triangle` tells JAX so):

    product     out[i] = Σ_{j<i} L[i, j] v[j]
    transposed  out[j] = Σ_{i>j} L[i, j] c[i]
    outer       out[i, j] = c[i] v[j], for j < i

A loop takes K numbers at the place of each row, whose first ones are the row; the last row ends where the
triangle does, and comes after the loop. There are three components or more.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from twinplate.programs.triangle import packed_size


def product(lower: Array, vector: Array) -> Array:
    """The strict lower triangle `lower` (..., M), row by row, times `vector` (..., K); equal leading dims."""
    size = vector.shape[-1]
    row, places = _rows(lower, size), jnp.arange(size)

    def step(_: None, i: Array) -> tuple[None, Array]:
        return None, jnp.where(places < i, row(i) * vector, 0).sum(-1)

    _, found = lax.scan(step, None, jnp.arange(size - 1))
    last = (lower[..., 1 - size :] * vector[..., :-1]).sum(-1, keepdims=True)
    return jnp.concatenate([jnp.moveaxis(found, 0, -1), last], -1)


def transposed(lower: Array, vector: Array) -> Array:
    """The same with the triangle transposed."""
    size = vector.shape[-1]
    row, places = _rows(lower, size), jnp.arange(size)

    def step(i: Array, total: Array) -> Array:
        number = lax.dynamic_slice_in_dim(vector, i, 1, -1)
        return total + jnp.where(places < i, row(i) * number, 0)

    found = lax.fori_loop(0, size - 1, step, jnp.zeros_like(vector))
    return found.at[..., :-1].add(lower[..., 1 - size :] * vector[..., -1:])


def outer(column: Array, row: Array) -> Array:
    """The strict lower triangle (..., M) of the matrix `column` (..., K) times `row` (..., K)."""
    size = row.shape[-1]
    starts = _starts(size)

    def step(i: Array, found: Array) -> Array:
        # The next row overwrites what is not of this one.
        values = lax.dynamic_slice_in_dim(column, i, 1, -1) * row
        return lax.dynamic_update_slice_in_dim(found, values, starts[i], -1)

    empty = lax.full_like(row, 0, shape=(*row.shape[:-1], packed_size(size)))
    found = lax.fori_loop(0, size - 1, step, empty)
    last = column[..., -1:] * row[..., :-1]
    return lax.dynamic_update_slice_in_dim(found, last, packed_size(size - 1), -1)


def _starts(size: int) -> Array:
    """Where each row begins."""
    rows = np.arange(size)
    return jnp.asarray(rows * (rows - 1) // 2)


def _rows(lower: Array, size: int) -> Callable[[Array], Array]:
    """K numbers from where a row but the last begins, (..., K)."""
    starts = _starts(size)
    return lambda i: lax.dynamic_slice_in_dim(lower, starts[i], size, -1)
