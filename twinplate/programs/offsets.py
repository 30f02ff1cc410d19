"""The offset of an item: what its counts are counts out of, such as the size of its library.

The mean of a count is the offset times what the latents say, so that an item that was sampled twice as long
is not another item. Where nobody says what an item's offset is, it is its counts in all over those that are
expected in the mean of all items: 1 for an item like the mean, and with missing entries taken over those
that are observed. Models and guides find it beside the features of the item, as the last column of its row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import blocks
from twinplate.data.columns import listed
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.words import counted

Array = npt.NDArray[np.float64]


def offsets_of(
    config: ProgramConfig, means: Array | None, x: Matrix, offsets: Any = None
) -> Array | None:
    """The offsets (N,) of the items `x` (N, D) of a program; None where it has none.

    means: (D,), of the counts in training, where offsets are totals.  offsets: given ones.
    Raises InputError where they are missing, unwanted, or no N positive numbers.
    """
    if not config.has_offsets:
        if offsets is not None:
            raise InputError(
                f"offsets are given with likelihood {config.likelihood!r} and offset 'none'; expected none: "
                "offsets are for counts, with offset 'given' or 'total'"
            )
        return None
    if offsets is not None:
        return given_offsets(offsets, len(x))
    if means is None:
        raise InputError(
            "the program was made with given offsets and there are none for x; expected `offsets`, one "
            "positive number an item"
        )
    return total_offsets(x, means)


def given_offsets(offsets: Any, num_items: int) -> Array:
    """`offsets` as an array (N,). Raises InputError unless they are N positive, finite numbers."""
    if isinstance(offsets, np.ma.MaskedArray):  # whose masked values are none
        offsets = np.ma.filled(offsets.astype(np.float64), np.nan)
    try:
        found = np.asarray(offsets)
        if found.dtype.kind not in "biuf":
            found = np.asarray(offsets, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("offsets hold no numbers; expected one positive number an item") from None
    if found.shape != (num_items,):
        raise InputError(
            f"offsets have shape {found.shape}; expected ({num_items},), one for each item of x"
        )
    found = found.astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
    if len(wrong):
        raise InputError(
            f"{counted(len(wrong), 'offset')} of {num_items} are not positive and finite, the first "
            f"{found[wrong[0]]:g} in row {wrong[0] + 1}; expected positive numbers, such as library sizes"
        )
    return found


def total_offsets(x: Matrix, means: Array) -> Array:
    """Of each item of `x` (N, D): its counts over what `means` (D,) expect of the entries it has, (N,).

    1 for an item without any entry. Raises InputError for an item whose entries are all zero.
    """
    found = np.ones(len(x))
    for start, block in blocks(x):
        observed = ~np.isnan(block)
        counts, expected = np.nansum(block, axis=1), observed @ means
        some = observed.any(axis=1)
        found[start : start + len(block)] = np.divide(
            counts, np.maximum(expected, np.finfo(float).tiny), where=some, out=np.ones(len(block))
        )
    empty = np.flatnonzero(found == 0)
    if len(empty):
        rows = listed([str(row + 1) for row in empty], most=5)
        raise InputError(
            f"{counted(len(empty), 'item')} of x count nothing at all (row {rows}), so that no offset "
            "can be told from them; leave them out, give offsets, or take offset 'none' (`--no-offset`)"
        )
    return found


def with_offsets(x: Matrix, offsets: Array | None) -> np.ndarray:
    """The rows that models and guides take: `x` (N, D), and where there are offsets (N, D + 1)."""
    return np.asarray(x) if offsets is None else np.column_stack([x, offsets])
