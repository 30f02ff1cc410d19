"""Rows of a matrix a block at a time, whether it is in memory or in a file.

A matrix that `np.load(path, mmap_mode="r")` has mapped is never held as a whole: blocks and mini-batches
are copied out of it, and the pages they came from are handed back to the system at once, so that the
resident memory does not grow with the file. Nor is one that is decoded part by part
(`twinplate.data.stored`).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from twinplate.data.stored import Matrix, Stored, recut

Array = npt.NDArray[np.float64]
Rows = Callable[[int, int], None]  # told the rows done and the rows in all after every block

BLOCK_BYTES = 1 << 22  # of one block, as float64
SCATTERED = 32  # rows far apart fetched between two releases: each makes up to 2 MiB resident


def on_disk(x: Matrix) -> bool:
    """Whether `x` is in a file, mapped for reading or decoded part by part, and so is to be streamed."""
    return isinstance(x, Stored) or _mapping(x) is not None


def fitting(bytes_per_item: int, most: int, limit: int = BLOCK_BYTES) -> int:
    """How many items to take at once: `most`, or as many (one at least) as stay below `limit` bytes."""
    return max(1, min(most, limit // bytes_per_item))


def spans(num_items: int, length: int) -> Iterator[slice]:
    """Consecutive slices of `length` rows, the last perhaps shorter, that cover `num_items`."""
    for start in range(0, num_items, length):
        yield slice(start, min(start + length, num_items))


def blocks(
    x: Matrix,
    progress: Rows | None = None,
    length: int | None = None,
    rows: slice = slice(None),
) -> Iterator[tuple[int, Array]]:
    """The first row and the float64 values of consecutive blocks of rows of `x` (N, D).

    length: rows of a block; by default those that make up 4 MiB.  progress: told after every block.
    rows: neighbours that the blocks are of; by default all.
    The values of an `x` in memory may share its memory.
    """
    first, end, _ = rows.indices(len(x))
    length = length or fitting(8 * x.shape[1], end - first)
    done = first
    for part in _parts(x, slice(first, end), length):
        with np.errstate(over="ignore"):  # a wider float may become an infinity: that is looked for
            values = np.ascontiguousarray(part, dtype=np.float64)
        yield done, np.array(values) if on_disk(values) else values
        release(x)
        done += len(values)
        if progress:
            progress(done - first, end - first)


def _parts(x: Matrix, rows: slice, length: int) -> Iterator[np.ndarray]:
    if isinstance(x, Stored):
        yield from recut(x.pieces(rows.start, rows.stop), length)
        return
    for span in spans(rows.stop - rows.start, length):
        yield x[rows.start + span.start : rows.start + span.stop]


class Walk:
    """The rows of a matrix from the first to the last, as many at a time as are asked for."""

    def __init__(self, x: Matrix) -> None:
        self._blocks = blocks(x)
        self._left = np.empty((0, x.shape[1]))

    def next(self, number: int) -> Array:
        """So many more rows, (number, D), as float64."""
        while len(self._left) < number:
            self._left = np.concatenate([self._left, next(self._blocks)[1]])
        taken, self._left = self._left[:number], self._left[number:]
        return taken


def gather(x: Matrix, indices: npt.NDArray[np.int64]) -> np.ndarray:
    """The rows `x[indices]` (M, D), in memory: float32 where the file holds no more."""
    narrow = x.dtype.kind == "f" and x.dtype.itemsize <= 4
    rows = np.empty((len(indices), x.shape[1]), np.float32 if narrow else np.float64)
    order = np.argsort(indices)  # neighbours on disk one after the other
    if isinstance(x, Stored):
        rows[order] = x.take(indices[order])
        return rows
    advise(x, "MADV_RANDOM")  # no reading ahead between rows far apart
    # where rows lie close together, as many as a block of the file holds
    length = max(SCATTERED, len(indices) * BLOCK_BYTES // max(x.nbytes, 1))
    try:
        for piece in spans(len(indices), length):
            rows[order[piece]] = x[indices[order[piece]]]
            release(x)
    finally:
        advise(x, "MADV_NORMAL")
    return rows


def release(x: Matrix) -> None:
    """Let go of the pages of the file that are resident on behalf of `x`; nothing for other arrays."""
    advise(x, "MADV_DONTNEED")


def advise(x: Matrix, advice: str) -> None:
    """Give the system an advice by its name in `mmap`, where there is a mapping and the advice exists."""
    mapping = _mapping(x)
    if mapping is not None and hasattr(mmap, advice):
        mapping.madvise(getattr(mmap, advice))


def _mapping(x: Matrix) -> mmap.mmap | None:
    array: object = x
    while isinstance(array, np.ndarray):
        # in copy-on-write mode what was written lives in the pages themselves
        if isinstance(array, np.memmap) and array.mode == "c":
            return None
        array = array.base
    return array if isinstance(array, mmap.mmap) else None
