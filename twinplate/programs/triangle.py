"""The strict lower triangle of a K × K matrix as a row of M = K (K - 1) / 2 numbers, row by row."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from twinplate.errors import InputError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Shape = tuple[int, ...]


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


def _constant(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values.flags.writeable = False
    return values
