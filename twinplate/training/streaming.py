"""Training on data that stay on disk: the mini-batches of the next chunk are read during the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import gather, on_disk
from twinplate.data.stored import Matrix
from twinplate.programs.offsets import with_offsets
from twinplate.training.plan import Chunk

T = TypeVar("T")
Places = slice | npt.NDArray[np.int64]  # of a mini-batch
ALL = slice(None)


def with_batches(
    plan: Iterable[Chunk],
    x: Matrix,
    a: np.ndarray | None,
    places: Places = ALL,
    offsets: np.ndarray | None = None,
) -> Iterator[Chunk]:
    """The chunks of `plan`, each with its mini-batches of `x` (N, D) and `a` (K, N) if `x` is on disk.

    places: of each mini-batch whose items are read, where several workers share them; by default all.
    offsets: (N,), which then stand in the rows.
    If `x` is in memory it goes to the device as a whole, and the chunks stay as they are.
    """
    if not on_disk(x):
        return iter(plan)
    return ahead(_fetched(chunk, x, a, places, offsets) for chunk in plan)


def with_batches_of_all(
    plans: Iterable[Iterable[Chunk]],
    x: Matrix,
    a: np.ndarray | None,
    offsets: np.ndarray | None = None,
) -> Iterator[tuple[Chunk, ...]]:
    """`with_batches` for several `plans` of equal length: all first chunks, then all second ones, ..."""
    rows = zip(*plans, strict=True)
    if not on_disk(x):
        return rows
    return ahead(tuple(_fetched(chunk, x, a, ALL, offsets) for chunk in row) for row in rows)


def _fetched(
    chunk: Chunk,
    x: Matrix,
    a: np.ndarray | None,
    places: Places,
    offsets: np.ndarray | None,
) -> Chunk:
    items = chunk.indices[:, places].reshape(-1)
    rows = with_offsets(gather(x, items), None if offsets is None else offsets[items])
    return replace(chunk, x=rows, a=None if a is None else gather(a.T, items).T)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each of them made by a second thread while the one before it is in use."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # not the end
