"""Adam's moments of one program as those of the other, where both train the same unconstrained numbers.

The frameworks have other maps from unconstrained numbers to a simplex, or to positive ones by exp or
softplus; there a step of one is no step of the other. Whether a number of one program is a number of the
other is found by moving all numbers of the first, each by its own amount, and looking where in the second
one has moved by just that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from twinplate.conversion.trained_file import Trained
from twinplate.records.record import Array

Numbers = Mapping[str, Array]
Function = Callable[[dict[str, Array]], dict[str, Array]]

LEAST, WIDTH = 5e-3, 1e-2  # by how much a number is moved: LEAST to LEAST + WIDTH
CLOSE = 1e-10  # how well it has to agree, beside rounding
SEEDS = (0, 1)  # of two moves: the first finds the places, the second confirms them


class Places:
    """Where the numbers of one program's parameters are in the other's, for each link.

    start: unconstrained numbers of the program that is converted.  onward: from such numbers to the other
    program's.
    """

    def __init__(self, start: dict[str, Array], onward: Function) -> None:
        self._start = start
        self._moves = [_moves(start, seed) for seed in SEEDS]
        self._before = before = onward(start)
        self._after = [
            {n: x - before[n] for n, x in onward({n: start[n] + move[n] for n in start}).items()}
            for move in self._moves
        ]
        self.shapes = {name: values.shape for name, values in before.items()}

    def of(self, sources: tuple[str, ...], targets: tuple[str, ...]) -> Array | None:
        """Of each number of the targets, its place among those of the sources, -1 where nothing moves it.

        None where a number of the targets is none of the sources.
        """
        moves = [_flat(sources, move) for move in self._moves]
        after = [_flat(targets, values) for values in self._after]
        order = np.argsort(moves[0])
        found = np.searchsorted(moves[0][order], after[0])
        best = np.full(after[0].shape, -1)
        close = CLOSE + 8 * np.finfo(np.float64).eps * np.abs(_flat(targets, self._before))
        for neighbour in (found - 1, found):
            index = order[np.clip(neighbour, 0, len(order) - 1)]
            fits = [np.abs(m[index] - a) <= close for m, a in zip(moves, after, strict=True)]
            best[np.logical_and(*fits)] = index[np.logical_and(*fits)]
        still = np.logical_and(*(values == 0.0 for values in after))
        return best if (still | (best >= 0)).all() else None


def carried(
    trained: Trained, pairs: list[tuple[tuple[str, ...], tuple[str, ...]]], places: Places
) -> tuple[Trained, tuple[str, ...]]:
    """The moments by the other program's names, and which of its parameters have none any more.

    pairs: names of the parameters that hold the same numbers, in both programs. The result has no
    parameters.
    """
    moments: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
    steps: dict[str, int] = {}
    reset: list[str] = []
    for sources, targets in pairs:
        where = None
        if all(name in trained.mean for name in sources):
            counts = {trained.steps[name] for name in sources}
            where = places.of(sources, targets) if len(counts) == 1 else None
        if where is None:
            reset += targets
            continue
        steps |= dict.fromkeys(targets, trained.steps[sources[0]])
        for mine, theirs in zip((trained.mean, trained.variance), moments, strict=True):
            flat = _flat(sources, mine)
            numbers = np.where(where < 0, flat.dtype.type(0), flat[where])
            sizes = np.cumsum([_size(places.shapes[name]) for name in targets])[:-1]
            for name, part in zip(targets, np.split(numbers, sizes), strict=True):
                theirs[name] = part.reshape(places.shapes[name])
    return Trained({}, *moments, steps), tuple(reset)


def _moves(start: Numbers, seed: int) -> dict[str, Array]:
    """How far each number is moved; no two of all numbers by the same."""
    size = sum(values.size for values in start.values())
    amounts = LEAST + WIDTH * np.random.default_rng(seed).permutation(size) / max(size, 1)
    ends = np.cumsum([values.size for values in start.values()])[:-1]
    parts = np.split(amounts, ends)
    return {n: x.reshape(start[n].shape) for n, x in zip(start, parts, strict=True)}


def _flat(names: tuple[str, ...], values: Numbers) -> Array:
    return np.concatenate([np.ravel(values[name]) for name in names])


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=int))
