"""Lower triangles of K × K matrices as rows of numbers; M = K (K - 1) / 2 lie below the diagonal."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import dropwhile
from typing import Any

import numpy as np
import numpy.typing as npt

from twinplate.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Shape = tuple[int, ...]

# On a processor, products with the triangle of more components go row by row: what they read and write is the
# triangle alone, once, which matrices of so many components would not leave in its cache. A row has its
# price however few the items are: the vectors of all must have so many numbers (`benchmarks/triangle.py`).
ROWS_ABOVE = 64
ROWS_FROM = 2**13


def packed_size(size: int) -> int:
    """M, for K = `size`."""
    return size * (size - 1) // 2


def check_packed(loc: Shape, scale: Shape, lower: Shape) -> None:
    """Raise InputError unless the shapes of loc, scale and lower are those of one triangle an item.

    Their last dims must be K, K and M, or K, K and 0 for a diagonal covariance; the others must broadcast.
    """
    if min(len(loc), len(scale), len(lower)) < 1:
        raise InputError(
            f"loc, scale and lower have shapes {loc}, {scale} and {lower}; expected one dim or more of each"
        )
    k = scale[-1]
    if loc[-1] != k or lower[-1] not in (0, packed_size(k)):
        raise InputError(
            f"loc, scale and lower have shapes {loc}, {scale} and {lower}; expected (..., K), (..., K) and "
            f"(..., K (K - 1) / 2) = (..., {packed_size(k)}), or (..., 0) for a diagonal covariance"
        )
    try:
        np.broadcast_shapes(loc[:-1], scale[:-1], lower[:-1])
    except ValueError as error:
        raise InputError(
            f"the batch shapes of loc, scale and lower, {loc[:-1]}, {scale[:-1]} and {lower[:-1]}, do not "
            "broadcast; expected the same, or 1"
        ) from error


def check_product(lower: Shape, vector: Shape) -> None:
    """Raise InputError unless triangles and vectors of these shapes have as many components."""
    if lower[-1] not in (0, packed_size(vector[-1])):
        raise InputError(
            f"lower and vector have shapes {tuple(lower)} and {tuple(vector)}; expected "
            f"(..., K (K - 1) / 2) = (..., {packed_size(vector[-1])}), or (..., 0) for zero, and (..., K)"
        )


def own_numbers(lower: Shape, vector: Shape) -> int:
    """How many numbers the vectors have, if each has a triangle of its own; otherwise 0.

    >>> own_numbers((5, 3), (1, 5, 3)), own_numbers((3,), (5, 3))
    (15, 0)
    """
    items, others = (tuple(dropwhile((1).__eq__, shape[:-1])) for shape in (lower, vector))
    return math.prod(vector) if items == others else 0


@lru_cache(maxsize=16)
def selectors(size: int) -> tuple[Array, Array]:
    """Constant matrices C (K, M) and R (M, K) of zeros and ones that multiply with a packed triangle.

    (lower * (v @ C)) @ R is the strict lower triangle times v (..., K), and no K × K matrix is built.
    """
    rows, columns = np.tril_indices(size, -1)
    copy, add = np.zeros((size, len(rows))), np.zeros((len(rows), size))
    copy[columns, np.arange(len(rows))] = 1
    add[np.arange(len(rows)), rows] = 1
    return _constant(copy), _constant(add)


@lru_cache(maxsize=16)
def take_indices(size: int) -> Indices:
    """Places (M,) of the strict lower triangle's entries in a K × K matrix, both row by row."""
    rows, columns = np.tril_indices(size, -1)
    return _constant(rows * size + columns)


@lru_cache(maxsize=16)
def fill_indices(size: int) -> Indices:
    """For every entry of a K × K matrix its place in the packed row (K²,); M where it has none."""
    indices = np.full(size * size, packed_size(size))
    indices[take_indices(size)] = np.arange(packed_size(size))
    return _constant(indices)


def pack_scale_tril(scale_tril: np.ndarray) -> np.ndarray:
    """Lower triangles (..., K, K) as (..., K (K + 1) / 2), row by row."""
    rows, columns = np.tril_indices(scale_tril.shape[-1])
    return scale_tril[..., rows, columns]


def unpack_scale_tril(packed: np.ndarray) -> np.ndarray:
    """The lower triangles (..., K, K) of `packed` (..., K (K + 1) / 2), in memory.

    Slice a memory-mapped array first: `unpack_scale_tril(packed[:1000])`. Raises InputError if the
    last axis has no length K (K + 1) / 2.

    >>> import numpy as np
    >>> from twinplate import unpack_scale_tril
    >>> unpack_scale_tril(np.array([1.0, 2.0, 3.0]))
    array([[1., 0.],
           [2., 3.]])
    """
    packed = np.asarray(packed)
    length = packed.shape[-1] if packed.ndim else 0
    size = (math.isqrt(8 * length + 1) - 1) // 2
    if not size or size * (size + 1) // 2 != length:
        raise InputError(
            f"packed has shape {packed.shape}; expected a last axis of K (K + 1) / 2 numbers: 1, 3, 6, ..."
        )
    scale_tril = np.zeros((*packed.shape[:-1], size, size), packed.dtype)
    rows, columns = np.tril_indices(size)
    scale_tril[..., rows, columns] = packed
    return scale_tril


def scale_tril_of_precision(precision: Array) -> Array:
    """Lower Cholesky factor of Λ⁻¹, from Λ = `precision`.

    With J, which reverses the order, and the Cholesky factor C of JΛJ, that factor is J C⁻ᵀ J: only a
    triangle is inverted, never Λ itself.
    """
    flipped = np.linalg.cholesky(precision[..., ::-1, ::-1])
    return np.tril(np.linalg.inv(flipped).mT[..., ::-1, ::-1])


def _constant(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values.flags.writeable = False
    return values
