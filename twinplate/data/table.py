"""A data matrix with the names of its columns, and whether a model can be fitted to it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import Array, Rows, blocks
from twinplate.data.statistics import Statistics
from twinplate.errors import InputError

Missing = Literal["error", "mask"]


@dataclass(frozen=True, eq=False)
class Table:
    """A data matrix `x` (N, D), NaN where an entry is missing, the names of its D columns, its statistics.

    `x` is float64 in memory, or a file mapped for reading, of whatever real type the file has.
    `fingerprint` is that of `fingerprint(x)`, or empty where it was not asked for.
    """

    x: np.ndarray
    columns: tuple[str, ...]
    statistics: Statistics
    fingerprint: str = ""


def check_matrix(table: Table, *, missing: Missing, learn_noise: bool) -> None:
    """Raise InputError where a model cannot be fitted to the table.

    That is: missing entries with `missing="error"`, a column or an item without any entry, and,
    where the noise is learned, a constant column, whose noise would shrink to nothing.
    """
    found, columns = table.statistics, table.columns
    if missing == "error" and found.missing.count:
        row, column = found.missing.first
        raise InputError(
            f"{found.missing.count} entries are missing, the first in row {row + 1}, "
            f"{column_name(columns, column)}: pass `--missing mask` to leave them out of the model."
        )
    empty = found.observed == 0
    if empty.any():
        raise InputError(f"Columns without any entry: {_listed(columns, empty)}. Drop them.")
    if found.empty_items.count:
        raise InputError(
            f"{found.empty_items.count} items have no observed entry, the first in row "
            f"{found.empty_items.first[0] + 1}: drop them."
        )
    if learn_noise and found.constant.any():
        raise InputError(
            f"Constant, so that no noise can be learned: {_listed(columns, found.constant)}. Drop "
            "such columns, or give `--loadings` an NPZ file with `noise_scale`."
        )


def fingerprint(x: np.ndarray, progress: Rows | None = None) -> str:
    """SHA-256, in hex, of the shape and the float64 values of `x`; all NaNs count as the same value.

    `progress` is told the rows read and the rows in all.
    """
    digest = Fingerprint(x.shape)
    for _, block in blocks(x, progress):
        digest.add(block)
    return digest.hex()


class Fingerprint:
    """What `fingerprint` is made of: given the blocks of a matrix of this shape, one after the other."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._digest = hashlib.sha256(f"float64 {shape} ".encode())

    def add(self, block: Array) -> None:
        """The next rows, (M, D)."""
        self._digest.update(np.where(np.isnan(block), np.nan, block).astype("<f8").tobytes())

    def hex(self) -> str:
        """SHA-256, in hex, of the shape and of the blocks that were added so far."""
        return self._digest.hexdigest()


def column_name(columns: Sequence[str], j: int) -> str:
    """How a message names column `j`."""
    default = f"column {j + 1}"
    return default if columns[j] == default else f"{default} ({columns[j]!r})"


def _listed(columns: Sequence[str], chosen: npt.ArrayLike) -> str:
    """The names of the chosen columns, at most five of them."""
    places = np.flatnonzero(chosen)
    names = ", ".join(column_name(columns, int(j)) for j in places[:5])
    return names + (f" and {len(places) - 5} more" if len(places) > 5 else "")
