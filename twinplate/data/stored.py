"""Matrices in files that are decoded part by part, as Parquet and Zarr are; none is ever held as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt


class Stored(ABC):
    """A matrix (N, D) of numbers, NaN where missing, in a file that is decoded a part of its rows at a time.

    shape: (N, D).  dtype: float32 or float64.
    edges: the first row of every part, and N: of row groups of Parquet, of chunks of Zarr.

    Whoever reads some rows only has the parts decoded that they are in. `np.asarray` reads all of it.
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: npt.DTypeLike, edges: Iterable[int]) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.edges = np.array([*edges], np.int64)

    @abstractmethod
    def pieces(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The rows from `start` to `stop`, in order, as many at a time (M, D) as are decoded together."""

    @abstractmethod
    def with_columns(self, places: Sequence[int]) -> Stored:
        """These columns of it, in this order; nothing is read."""

    @property
    def nbytes(self) -> int:
        """What it would take in memory."""
        return self.dtype.itemsize * self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        return np.concatenate([np.empty((0, self.shape[1]), self.dtype), *self.pieces(start, stop)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def take(self, indices: npt.NDArray[np.int64]) -> np.ndarray:
        """The rows of these increasing `indices` (M,); each part that one of them is in is decoded once."""
        rows, done = np.empty((len(indices), self.shape[1]), self.dtype), 0
        for count in np.diff(np.searchsorted(indices, self.edges)):
            wanted = indices[done : done + count]
            at = wanted[0] if count else 0
            for piece in self.pieces(at, wanted[-1] + 1) if count else ():
                here = wanted[(wanted >= at) & (wanted < at + len(piece))]
                rows[done : done + len(here)] = piece[here - at]
                at, done = at + len(piece), done + len(here)
        return rows


Matrix: TypeAlias = np.ndarray | Stored  # in memory or mapped, or decoded part by part


def matrix_of(x: Any) -> Matrix:
    """`x` as an array, or as it is where it is decoded part by part."""
    return x if isinstance(x, Stored) else np.asarray(x)


def recut(pieces: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """The rows of all pieces, in blocks of `length`; the last one may be shorter.

    >>> [block.tolist() for block in recut([np.array([1, 2, 3]), np.array([4]), np.array([5])], 2)]
    [[1, 2], [3, 4], [5]]
    """
    held: list[np.ndarray] = []
    for piece in pieces:
        held.append(piece)
        while (count := sum(map(len, held))) >= length:
            whole = held[0] if len(held) == 1 else np.concatenate(held)
            yield whole[:length]
            held = [whole[length:]] if count > length else []
    if held:
        yield np.concatenate(held)
