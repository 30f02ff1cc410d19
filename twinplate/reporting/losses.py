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

    The error is a standard deviation, as the steps vary.
    """
    length = max(len(values) // 10, 1)
    before, last = values[-2 * length : -length], values[-length:]
    if not len(before):
        return 0.0, 0.0
    error = np.sqrt(before.var() / len(before) + last.var() / len(last))
    return float(before.mean() - last.mean()), float(error)


def is_settled(values: Array) -> bool:
    """Whether a number for every step no longer falls: by less than SETTLED, or than chance would do."""
    fell, error = fall(values)
    return fell < max(SETTLED, 3 * error)
