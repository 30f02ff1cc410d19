"""Rows of a matrix a block at a time, whether it is in memory or in a memory-mapped file.

A matrix that `np.load(path, mmap_mode="r")` has mapped is never held as a whole: blocks and mini-batches
are copied out of it, and the pages they came from are handed back to the system at once, so that the
resident memory does not grow with the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = Callable[[int, int], None]  # told the rows done and the rows in all after every block

BLOCK_BYTES = 1 << 22  # of one block, as float64
SCATTERED = 32  # rows far apart fetched between two releases: each makes up to 2 MiB resident


def on_disk(x: np.ndarray) -> bool:
    """Whether `x` is a view of a file mapped for reading, and so is to be streamed."""
    return _mapping(x) is not None


def fitting(bytes_per_item: int, most: int, limit: int = BLOCK_BYTES) -> int:
    """How many items to take at once: `most`, or as many (one at least) as stay below `limit` bytes."""
    return max(1, min(most, limit // bytes_per_item))


def spans(num_items: int, length: int) -> Iterator[slice]:
    """Consecutive slices of `length` rows, the last perhaps shorter, that cover `num_items`."""
    for start in range(0, num_items, length):
        yield slice(start, min(start + length, num_items))


def blocks(
    x: np.ndarray, progress: Rows | None = None, length: int | None = None
) -> Iterator[tuple[int, Array]]:
    """The first row and the float64 values of consecutive blocks of rows of `x` (N, D).

    length: rows of a block; by default those that make up 4 MiB.  progress: told after every block.
    The values of an `x` in memory may share its memory.
    """
    length = length or fitting(8 * x.shape[1], len(x))
    for rows in spans(len(x), length):
        with np.errstate(over="ignore"):  # a wider float may become an infinity: that is looked for
            values = np.ascontiguousarray(x[rows], dtype=np.float64)
        yield rows.start, np.array(values) if on_disk(values) else values
        release(x)
        if progress:
            progress(rows.stop, len(x))


def gather(x: np.ndarray, indices: npt.NDArray[np.int64]) -> np.ndarray:
    """The rows `x[indices]` (M, D), in memory: float32 where the file holds no more."""
    narrow = x.dtype.kind == "f" and x.dtype.itemsize <= 4
    rows = np.empty((len(indices), x.shape[1]), np.float32 if narrow else np.float64)
    order = np.argsort(indices)  # neighbours on disk one after the other
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


def release(x: np.ndarray) -> None:
    """Let go of the pages of the file that are resident on behalf of `x`; nothing for other arrays."""
    advise(x, "MADV_DONTNEED")


def advise(x: np.ndarray, advice: str) -> None:
    """Give the system an advice by its name in `mmap`, where there is a mapping and the advice exists."""
    mapping = _mapping(x)
    if mapping is not None and hasattr(mmap, advice):
        mapping.madvise(getattr(mmap, advice))


def _mapping(x: np.ndarray) -> mmap.mmap | None:
    array: object = x
    while isinstance(array, np.ndarray):
        # in copy-on-write mode what was written lives in the pages themselves
        if isinstance(array, np.memmap) and array.mode == "c":
            return None
        array = array.base
    return array if isinstance(array, mmap.mmap) else None
