"""The items of a plate block by block, every block of the size that the program takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from twinplate.guides.structure import Frame

Indices = npt.NDArray[np.int64]


def index_blocks(items: Frame) -> Iterator[tuple[Indices, int]]:
    """Indices (B,) of each block, and how many of them are to be kept.

    The last block begins anew with the first items, so that its size is that of the others.

    >>> [(indices.tolist(), kept) for indices, kept in index_blocks(Frame("items", -1, 2, 3))]
    [([0, 1], 2), ([2, 0], 1)]
    """
    for start in range(0, items.full_size, items.size):
        indices = np.arange(start, start + items.size) % items.full_size
        yield indices, min(items.size, items.full_size - start)
