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
from twinplate.training.plan import Chunk

T = TypeVar("T")
Places = slice | npt.NDArray[np.int64]  # of a mini-batch
ALL = slice(None)


def with_batches(
    plan: Iterable[Chunk], x: Matrix, a: np.ndarray | None, places: Places = ALL
) -> Iterator[Chunk]:
    """The chunks of `plan`, each with its mini-batches of `x` (N, D) and `a` (K, N) if `x` is on disk.

    places: of each mini-batch whose items are read, where several workers share them; by default all.
    If `x` is in memory it goes to the device as a whole, and the chunks stay as they are.
    """
    if not on_disk(x):
        return iter(plan)
    return ahead(_fetched(chunk, x, a, places) for chunk in plan)


def with_batches_of_all(
    plans: Iterable[Iterable[Chunk]], x: Matrix, a: np.ndarray | None
) -> Iterator[tuple[Chunk, ...]]:
    """`with_batches` for several `plans` of equal length: all first chunks, then all second ones, ..."""
    rows = zip(*plans, strict=True)
    if not on_disk(x):
        return rows
    return ahead(tuple(_fetched(chunk, x, a) for chunk in row) for row in rows)


def _fetched(chunk: Chunk, x: Matrix, a: np.ndarray | None, places: Places = ALL) -> Chunk:
    items = chunk.indices[:, places].reshape(-1)
    return replace(chunk, x=gather(x, items), a=None if a is None else gather(a.T, items).T)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each of them made by a second thread while the one before it is in use."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # not the end
