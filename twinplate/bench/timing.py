"""Fair timing of several ways to do the same work: in one process, taking turns, in random order.

Blocks of steps are timed round after round. What two ways have in common in a round (a busy
neighbour, a warm processor) cancels in their ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from twinplate.training.state import Array

CONFIDENCE = 0.95
T = TypeVar("T")


@dataclass(frozen=True)
class Interval:
    """A median with its 95 % interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """The value, and the seconds it took."""
    started = time.perf_counter()
    value = function()
    return value, time.perf_counter() - started


def interleave(
    blocks: Mapping[str, Callable[[], Any]],
    rounds: int,
    rng: np.random.Generator,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Array]:
    """Seconds of every block in every round, (rounds,); the order within a round is random."""
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(rounds):
        for name in rng.permutation(list(blocks)):
            seconds[name].append(timed(blocks[name])[1])
        progress()
    return {name: np.array(values) for name, values in seconds.items()}


def median_interval(values: npt.ArrayLike) -> Interval:
    """The median and its distribution-free interval, from order statistics.

    Between the k-th smallest and the k-th largest of n values the true median lies with probability
    P(k ≤ X ≤ n - k), X ~ Binomial(n, ½). The largest k that gives 95 % is taken; below n = 6 there is
    none, and the interval is all values.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    k = max(int(binom.ppf((1 - CONFIDENCE) / 2, n, 0.5)), 1)
    return Interval(float(np.median(ordered)), float(ordered[k - 1]), float(ordered[n - k]))


def ratio(numerator: Sequence[float] | Array, denominator: Sequence[float] | Array) -> Interval:
    """How many times as long one way takes as another, round by round: the median of these ratios."""
    return median_interval(np.asarray(numerator) / np.asarray(denominator))


def spread(values: npt.ArrayLike) -> float:
    """The interquartile range of `values`."""
    low, high = np.percentile(np.asarray(values), [25, 75])
    return float(high - low)
