"""How the dims of one site correspond in two programs, and its numbers in the dims that both have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinplate.records.record import Array, Site
from twinplate.verification.matching.sites import Dim, align, dims

Reduce = Callable[..., Array]


@dataclass(frozen=True)
class Moved:
    """How the dims of a site correspond.

    pairs: each dim of the first program's site with the second's, in the first's order.
    axes: position of the second's dim among the second's own, for each pair.
    """

    pairs: list[tuple[Dim, Dim]]
    axes: tuple[int, ...]

    @property
    def restructured(self) -> list[str]:
        """Names of plates of one program that are event dims of the other."""
        return [a.plate or b.plate for a, b in self.pairs if a.is_batch != b.is_batch]

    @property
    def undeclared(self) -> bool:
        """Whether a batch dim outside every plate became an event dim."""
        return any(a.is_batch != b.is_batch and not (a.plate or b.plate) for a, b in self.pairs)


def moved(first: Site, second: Site) -> Moved | None:
    """How the dims of one site correspond in two programs, None where they do not."""
    layout = align(first, second)
    if layout is None:
        return None
    mine, theirs = dims(first), dims(second)
    pairs = [(d, theirs[i]) for d, i in zip(mine, layout.axes, strict=True)]
    return Moved(pairs, layout.axes)


def reducers(correspondence: Moved) -> tuple[Reduce, Reduce]:
    """For each program, what brings (P, *batch_shape) to the batch dims of both, in the first's order.

    It sums over batch dims that the other program lacks, or takes what else is given: `reduce(x, np.mean)`.
    """
    pairs, axes = correspondence.pairs, correspondence.axes
    first_batch = [i for i, (a, _) in enumerate(pairs) if a.is_batch]
    common = [i for i, (a, b) in enumerate(pairs) if a.is_batch and b.is_batch]
    second_batch = [int(i) for i in np.argsort(axes) if pairs[i][1].is_batch]

    def reducer(batch: list[int], sizes: dict[int, int]) -> Reduce:
        def reduce(numbers: Array, combine: Callable[..., Any] = np.sum) -> Array:
            numbers = numbers.reshape(len(numbers), *(sizes[i] for i in batch))
            gone = tuple(k + 1 for k, i in enumerate(batch) if i not in common)
            left = [i for i in batch if i in common]
            kept = np.asarray(combine(numbers, axis=gone))
            return kept.transpose(0, *(left.index(i) + 1 for i in common))

        return reduce

    mine = {i: a.size for i, (a, _) in enumerate(pairs)}
    theirs = {i: b.size for i, (_, b) in enumerate(pairs)}
    return reducer(first_batch, mine), reducer(second_batch, theirs)
