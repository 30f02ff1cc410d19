"""Exact log evidence of items that a model was not fitted to, for several numbers of components."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np

from twinplate.data.blocks import Array, gather
from twinplate.data.columns import listed
from twinplate.data.statistics import read_statistics
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import LOG_2PI
from twinplate.programs.start import likely_start
from twinplate.seeds import generator
from twinplate.words import counted

FOLDS = 5
MOST_ITEMS = 20_000  # that are looked at: more would not change the choice
STILL = 0.05  # of its spread, below which a feature hardly varies
MOST_COMPONENTS = 10  # of those that are tried by default

Told = Callable[[str], None]


def usual_components(num_features: int) -> tuple[int, ...]:
    """1, 2, ... as long as D features can tell that many components apart, 10 at most.

    Covariances of D features have D (D + 1) / 2 numbers, a model of K components D (K + 1) less the
    K (K - 1) / 2 of a rotation (Ledermann, *Psychometrika* 2, 1937).

    >>> usual_components(6), usual_components(2)
    ((1, 2, 3), (1,))
    """
    return tuple(range(1, min(told_apart(num_features), MOST_COMPONENTS) + 1))


def told_apart(num_features: int) -> int:
    """The most components that D features can tell apart, 1 at least."""
    return max(1, int(num_features + 0.5 - sqrt(2 * num_features + 0.25) + 1e-9))


def most_fitted(num_items: int, num_features: int) -> int:
    """The most components that four fifths of N items of D features can be fitted with."""
    return min(num_items - -(-num_items // FOLDS), num_features)


def some_places(num_items: int, seed: int) -> np.ndarray:
    """Places of at most MOST_ITEMS of N items, in random order."""
    return generator(seed, "choice").permutation(num_items)[:MOST_ITEMS]


def some_items(x: Matrix, seed: int) -> Array:
    """At most MOST_ITEMS items of `x` (N, D), in memory, in random order."""
    return gather(x, some_places(len(x), seed)).astype(np.float64)


def check_components(components: Sequence[int], x: Array) -> None:
    """Raise InputError unless each number can be fitted to four fifths of the items `x` (N, D)."""
    n, d = x.shape
    if n < 2 * FOLDS:
        raise InputError(
            f"there are {counted(n, 'item')}; expected {2 * FOLDS} or more, to hold some out"
        )
    most = most_fitted(n, d)
    wrong = [k for k in components if not 1 <= k <= most]
    if wrong:
        raise InputError(
            f"--components has {wrong[0]}; expected 1 to {most}, the smaller of features and items of "
            f"{FOLDS - 1} of {FOLDS} parts"
        )


def held_out_evidence(
    x: Array,
    components: Sequence[int],
    tell: Told = lambda text: None,
    names: Sequence[str] = (),
) -> Array:
    """Log p of every item of `x` (N, D) under models fitted to the other folds, (N, len(components)).

    The models are at maximum likelihood, which is where `fit` starts and, with a full covariance, stays.
    Items are taken in FOLDS parts in their order, which is to be random. Raises InputError, with the names of
    the features, where one has no entry outside a part, or hardly varies there: the models of the others
    take it for a constant then, and its items rule the evidence.
    """
    found = np.empty((len(x), len(components)))
    check_parts(x, names or [f"column {j + 1}" for j in range(x.shape[1])])
    for fold in range(FOLDS):
        out = np.arange(len(x)) % FOLDS == fold
        train = x[~out]
        units = read_statistics(train)
        for column, k in enumerate(components):
            tell(f"{counted(k, 'component')}, part {fold + 1} of {FOLDS}")
            found[out, column] = likely_start(train, k, units).log_evidence(x[out])
    return found


def check_parts(x: Array, names: Sequence[str], varies: bool = True) -> None:
    """Raise InputError for a feature without an entry outside a part, or if `varies` hardly varying there."""
    spread = _spread(x)
    for fold in range(FOLDS):
        train = x[np.arange(len(x)) % FOLDS != fold]
        empty = np.isnan(train).all(axis=0)
        still = varies & ~empty & (spread > 0) & (_spread(train) < STILL * spread)
        for wrong, what in ((empty, "has entries"), (still, "varies")):
            if wrong.any():
                some = listed([names[j] for j in np.flatnonzero(wrong).tolist()], most=5)
                hardly = " (or nearly so), so that its few other values would rule the choice"
                raise InputError(
                    f"{some} {what} in one part in {FOLDS} of the items alone{hardly * (wrong is still)}; "
                    "correct it, or leave it out with --drop"
                )


def _spread(x: Array) -> Array:
    """Standard deviation of what there is of each feature, 0 of nothing, (D,)."""
    seen = ~np.isnan(x)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, x, 0.0).sum(axis=0) / count
    return np.sqrt(np.sum(np.where(seen, x - mean, 0.0) ** 2, axis=0) / count)


def independent_evidence(x: Array) -> Array:
    """The same of a model without components, (N,): a normal for each feature, by the other folds."""
    found = np.empty(len(x))
    for fold in range(FOLDS):
        out = np.arange(len(x)) % FOLDS == fold
        units = read_statistics(x[~out])
        z = (x[out] - units.mean) / units.spread
        found[out] = -0.5 * np.nansum(z**2 + LOG_2PI + 2 * np.log(units.spread), axis=1)
    return found
