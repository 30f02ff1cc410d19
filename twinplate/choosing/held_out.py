"""Exact log evidence of items that a model was not fitted to, for several numbers of components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np

from twinplate.data.blocks import Array, gather
from twinplate.data.statistics import read_statistics
from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import LOG_2PI
from twinplate.programs.start import likely_start
from twinplate.seeds import generator
from twinplate.words import counted

FOLDS = 5
MOST_ITEMS = 20_000  # that are looked at: more would not change the choice
MOST_COMPONENTS = 10  # of those that are tried by default

Told = Callable[[str], None]


def usual_components(num_features: int) -> tuple[int, ...]:
    """1, 2, ... as long as D features can tell that many components apart, 10 at most.

    Covariances of D features have D (D + 1) / 2 numbers, a model of K components D (K + 1) less the
    K (K - 1) / 2 of a rotation (Ledermann, *Psychometrika* 2, 1937).

    >>> usual_components(6), usual_components(2)
    ((1, 2, 3), (1,))
    """
    most = int(num_features + 0.5 - sqrt(2 * num_features + 0.25) + 1e-9)
    return tuple(range(1, max(1, min(most, MOST_COMPONENTS)) + 1))


def some_items(x: np.ndarray, seed: int) -> Array:
    """At most MOST_ITEMS items of `x` (N, D), in memory, in random order."""
    order = generator(seed, "choice").permutation(len(x))[:MOST_ITEMS]
    return gather(x, order).astype(np.float64)


def check_components(components: Sequence[int], x: Array) -> None:
    """Raise InputError unless each number can be fitted to four fifths of the items `x` (N, D)."""
    n, d = x.shape
    if n < 2 * FOLDS:
        raise InputError(
            f"there are {counted(n, 'item')}; expected {2 * FOLDS} or more, to hold some out"
        )
    most = min(n - -(-n // FOLDS), d)
    wrong = [k for k in components if not 1 <= k <= most]
    if wrong:
        raise InputError(
            f"--components has {wrong[0]}; expected 1 to {most}, the smaller of features and items of "
            f"{FOLDS - 1} of {FOLDS} parts"
        )


def held_out_evidence(x: Array, components: Sequence[int], tell: Told = lambda text: None) -> Array:
    """Log p of every item of `x` (N, D) under models fitted to the other folds, (N, len(components)).

    The models are at maximum likelihood, which is where `fit` starts and, with a full covariance, stays.
    Items are taken in FOLDS parts in their order, which is to be random. Raises InputError where a feature
    has no entry outside a part.
    """
    found = np.empty((len(x), len(components)))
    for fold in range(FOLDS):
        out = np.arange(len(x)) % FOLDS == fold
        train = x[~out]
        if (empty := np.isnan(train).all(axis=0)).any():
            raise InputError(
                f"{counted(int(empty.sum()), 'feature')} has entries in one part of the items alone; leave "
                "it out with --drop"
            )
        units = read_statistics(train)
        for column, k in enumerate(components):
            tell(f"{counted(k, 'component')}, part {fold + 1} of {FOLDS}")
            found[out, column] = likely_start(train, k, units).log_evidence(x[out])
    return found


def independent_evidence(x: Array) -> Array:
    """The same of a model without components, (N,): a normal for each feature, by the other folds."""
    found = np.empty(len(x))
    for fold in range(FOLDS):
        out = np.arange(len(x)) % FOLDS == fold
        units = read_statistics(x[~out])
        z = (x[out] - units.mean) / units.spread
        found[out] = -0.5 * np.nansum(z**2 + LOG_2PI + 2 * np.log(units.spread), axis=1)
    return found
