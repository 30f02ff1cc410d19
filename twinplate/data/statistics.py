"""What one pass over a data matrix tells: which entries are missing or infinite, range and moments.

The pass goes block by block (`twinplate.data.blocks`), so the matrix may be a memory-mapped file of any size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from twinplate.data.blocks import Array, Rows, blocks
from twinplate.data.stored import Matrix


@dataclass
class Places:
    """Places in a matrix: how many there are, and the index of the first in the order of rows."""

    count: int = 0
    first: tuple[int, ...] = ()

    def add(self, found: np.ndarray, start: int) -> None:
        """Count the places where `found` is true, a boolean array of the block that begins at row `start`."""
        here = int(np.count_nonzero(found))
        if here and not self.count:
            row, *rest = (int(i) for i in np.unravel_index(np.argmax(found), found.shape))
            self.first = (start + row, *rest)
        self.count += here


@dataclass
class Statistics:
    """The facts about `num_items` rows; those about columns are arrays (D,).

    missing, infinite: entries.  empty_items: rows without an entry.  observed: entries that are not
    missing; low, high, mean and variance are theirs (NaN where there is none).
    """

    num_items: int
    observed: Array
    low: Array
    high: Array
    mean: Array
    variance: Array
    missing: Places = field(default_factory=Places)
    infinite: Places = field(default_factory=Places)
    empty_items: Places = field(default_factory=Places)

    @property
    def constant(self) -> np.ndarray:
        """Columns (D,) that hold a single value."""
        return self.low == self.high

    @property
    def spread(self) -> Array:
        """Standard deviation of each feature (D,); 1 for a constant one."""
        return np.where(self.constant, 1.0, np.sqrt(self.variance))


def read_statistics(
    x: Matrix, progress: Rows | None = None, also: Callable[[Array], object] | None = None
) -> Statistics:
    """Read `x` (N, D), NaN where missing, once.

    progress: told the rows done and the rows in all.  also: given every block (M, D), so that whatever
    else needs all of `x` does not read it once more.
    """
    nothing = np.full(x.shape[1], np.nan)  # replaced, never written to
    found = Statistics(len(x), np.zeros(x.shape[1]), nothing, nothing, nothing, nothing)
    for start, block in blocks(x, progress):
        if also:
            also(block)
        absent = np.isnan(block)
        found.missing.add(absent, start)
        found.infinite.add(np.isinf(block), start)
        found.empty_items.add(np.all(absent, axis=1), start)
        found.low = np.fmin(found.low, np.fmin.reduce(block))
        found.high = np.fmax(found.high, np.fmax.reduce(block))
        _add_moments(found, block, absent)
    return found


def _add_moments(found: Statistics, block: Array, absent: np.ndarray) -> None:
    """Merge the mean and variance of a block (Chan, Golub and LeVeque, 1979)."""
    holes = bool(absent.any())
    count = len(block) - (np.count_nonzero(absent, axis=0) if holes else np.zeros(block.shape[1]))
    with np.errstate(
        invalid="ignore", divide="ignore", over="ignore"
    ):  # no entry, or an infinite one
        mean = (np.where(absent, 0.0, block) if holes else block).sum(axis=0) / count
        apart = block - mean
        variance = np.square(np.where(absent, 0.0, apart) if holes else apart).sum(axis=0) / count
        total = found.observed + count
        share, shift = count / total, mean - found.mean
        merged_mean = found.mean + share * shift
        merged = (1 - share) * found.variance + share * variance + share * (1 - share) * shift**2
    first, other = found.observed == 0, count > 0
    found.mean = np.where(first, mean, np.where(other, merged_mean, found.mean))
    found.variance = np.where(first, variance, np.where(other, merged, found.variance))
    found.observed = total
