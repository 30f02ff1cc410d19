"""The one-standard-error rule, by pairs: the simplest candidate that is behind the best by chance alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinplate.data.blocks import Array
from twinplate.seeds import generator

RESAMPLES = 2000
RULING = 0.5  # of a variance, from which on one item rules it


@dataclass(frozen=True, eq=False)
class Choice:
    """Of C candidates from the simplest to the most complex.

    mean: (C,), nats per item.  best: with the highest mean.  chosen: the first one whose mean is below that
    of the best by no more than one standard error of their difference.
    behind, error: (C,), what each is behind the chosen one, and the standard error of that.
    certainty: the share of resamples of the items in which the same one is chosen.
    """

    mean: Array
    best: int
    chosen: int
    behind: Array
    error: Array
    certainty: float


def choose(scores: Array, seed: int = 0) -> Choice:
    """From the scores of N items, held out, by C candidates, (N, C): the higher, the better.

    The same items are scored by all candidates, so it is differences that have an error, and a much smaller
    one than the scores have. Resamples are drawn from the normal that means of N items follow.

    >>> import numpy as np
    >>> scores = np.random.default_rng(0).normal(size=(1000, 3))
    >>> found = choose(scores - scores.mean(axis=0) + [0.0, 0.99, 1.0])
    >>> found.best, found.chosen
    (2, 1)
    """
    n, count = scores.shape
    mean = scores.mean(axis=0)
    covariance = np.cov(scores.T).reshape(count, count) / n
    variance = np.diag(covariance)
    errors = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 0.0))
    best, chosen = int(np.argmax(mean)), _first_close(mean, errors)
    values, vectors = np.linalg.eigh(covariance)
    noise = generator(seed, "resamples").standard_normal((RESAMPLES, count))
    resampled = mean + noise * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    same = np.mean([_first_close(means, errors) == chosen for means in resampled])
    return Choice(mean, best, chosen, mean[chosen] - mean, errors[chosen], float(same))


def ruling(differences: Array) -> int | None:
    """The place of the item that makes more than half of the variance of differences (N,), if one does."""
    squares = (differences - differences.mean()) ** 2
    place = int(np.argmax(squares))
    return place if squares[place] > RULING * squares.sum() > 0 else None


def _first_close(mean: Array, errors: Array) -> int:
    best = int(np.argmax(mean))
    return int(np.argmax(mean[best] - mean <= errors[best]))
