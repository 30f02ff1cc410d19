"""The course of a fit: its losses in a few hundred points, beside the exact answer of the same items."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from twinplate.data.blocks import Array
from twinplate.programs.config import TrainingConfig
from twinplate.seeds import batch_indices
from twinplate.training.plan import CHUNK

POINTS = 60  # of a curve
SETTLED = 0.01  # nats per item over the last tenth of the steps that are no fall
MANY = 20  # steps at least of which something can be said
UNSEEN = 0.3  # nats per item: where a fall of that would not be noticed, nothing can be said


@dataclass(frozen=True, eq=False)
class Course:
    """steps, mean, low, high: (n,), of consecutive steps the middle, mean, 10 % and 90 % of a number.

    spread: (n,), the standard deviation of the mean.
    """

    steps: Array
    mean: Array
    low: Array
    high: Array
    spread: Array

    @classmethod
    def of(cls, values: Array, first: int = 0, points: int = POINTS) -> Course:
        """Of one number for every step (n ≥ 1), from step `first` on; what is not finite is left out."""
        edges = np.linspace(0, len(values), min(points, len(values)) + 1).astype(int)
        rows = []
        for start, stop in pairwise(edges):
            part = values[start:stop]
            part = part[np.isfinite(part)]
            if part.size:
                low, high = np.quantile(part, (0.1, 0.9))
                spread = part.std() / np.sqrt(part.size)
                rows.append((first + (start + stop + 1) / 2, part.mean(), low, high, spread))
        return cls(*np.array(rows).reshape(-1, 5).T)


def missed_by_step(losses: Array, evidence: Array, training: TrainingConfig) -> Array:
    """The loss of every step of a run, plus the exact log evidence of the step's own items, (steps,).

    evidence: of all items (N,), under the fitted model. Which items a mini-batch holds makes no noise then.
    """
    missed = np.empty(len(losses))
    for first in range(0, len(losses), CHUNK):
        steps = min(CHUNK, len(losses) - first)
        items = batch_indices(training.seed, first, steps, len(evidence), training.batch_size)
        missed[first : first + steps] = evidence[items].mean(axis=1)
    return missed + losses


def fall(values: Array) -> tuple[float, float]:
    """By how much a number for every step fell from the tenth before the last to the last, and its error.

    The error is a standard deviation, as the steps vary; of fewer than MANY steps nothing is known of it,
    and it is infinite.
    """
    length = len(values) // 10
    if len(values) < MANY:
        return 0.0, float("inf")
    return _difference(values[-2 * length : -length], values[-length:])


def rise(values: Array) -> tuple[float, float]:
    """By how much the last tenth of the steps is above the lowest tenth, and the error of that."""
    tenths = np.array_split(values, 10)
    lowest = min(tenths, key=lambda part: float(part.mean()))
    return _difference(tenths[-1], lowest)


def trend(values: Array, unseen: float = UNSEEN) -> str:
    """How a number for every step ends: "falls", "rises", "settled" or "cannot tell".

    It is settled where it differs by less than SETTLED, or than chance would make it, from the tenth before
    the last tenth of the steps and from the lowest tenth. Nothing can be told of fewer than MANY steps, nor
    where a fall of `unseen` nats per item would be taken for chance.

    >>> trend(np.linspace(1, 100, 300)), trend(np.full(300, 7.0)), trend(np.array([5.0]))
    ('rises', 'settled', 'cannot tell')
    """
    if len(values) < MANY:
        return "cannot tell"
    rose, error = rise(values)
    if rose > max(SETTLED, 4 * error):  # the lowest of ten is low by chance already
        return "rises"
    fell, error = fall(values)
    if fell > max(SETTLED, 3 * error):
        return "falls"
    return "cannot tell" if not 3 * error <= max(SETTLED, unseen) else "settled"


def _difference(one: Array, other: Array) -> tuple[float, float]:
    error = np.sqrt(one.var() / len(one) + other.var() / len(other))
    return float(one.mean() - other.mean()), float(error)
