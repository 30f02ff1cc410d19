"""Are predictions of counts, or of zeros and ones, as certain as they say?

Intervals of whole numbers hold more than they say, so it is randomised quantile residuals that are looked at
(Dunn and Smyth, *JCGS* 5, 1996), the probability integral transform of counts with a draw in place of its
jumps (Czado, Gneiting and Held, *Biometrics* 65, 2009): where predictions are right they are standard normal
whatever the counts. Beside them stand frequencies, which need no draw: how many entries are 0, 1, 2, ..., and
of zeros and ones how many are one where that is said to be so likely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from twinplate.data.blocks import Array, spans
from twinplate.errors import InputError
from twinplate.programs.count_prediction import CountPrediction, quantile_residuals
from twinplate.programs.importance import bounded_places, weighted_draws
from twinplate.programs.likelihood import cumulative
from twinplate.reporting.calibration import Calibration, hide
from twinplate.training.state import Fit

MOST_VALUES = 40  # of counts whose frequencies are shown
TAIL = 0.05  # of the entries, beyond the values that are shown
BINS = 10  # of the probabilities of a one
WEIGHTED = 200  # draws of the latents of an item: the errors of its entries are larger than theirs
AT_ONCE = 10_000  # hidden entries

Below = Callable[[Array], Array]  # P(X ≤ x) of the hidden entries, for a number each


@dataclass(frozen=True, eq=False)
class Frequencies:
    """at: (m,), values 0, 1, 2, ..., or of zeros and ones the mean probability of a one in each bin.

    observed, expected: (m,), shares of the hidden entries that are that value, or of a bin that are one.
    error: (m,), two standard errors of `observed`, of so many independent entries.
    """

    at: Array
    observed: Array
    expected: Array
    error: Array


@dataclass(frozen=True, eq=False)
class CountCalibration(Calibration):
    """z: randomised quantile residuals.  frequencies: None where the counts are too large to be counted."""

    frequencies: Frequencies | None = None


def calibrate_counts(
    fit: Fit, x: Array, offsets: Array | None, seed: int = 0
) -> CountCalibration | None:
    """Hide a tenth of the entries of each item of `x` (N, D), one at least, and predict them from the rest.

    By the guide, or where it has never met a missing entry by importance weights, of draws for the whole
    item. offsets: (N,), given ones, else None: totals are those of the rest, and an item whose rest counts
    nothing is left as it is. None where no item has a rest to predict from.
    """
    assert fit.program is not None
    config = fit.program.config
    hidden = hide(x, seed)
    if config.offset == "total":
        hidden &= np.nansum(np.where(hidden, 0.0, x), axis=1, keepdims=True) > 0
    try:
        fit.posterior_blocks(np.where(hidden, np.nan, x), offsets=offsets)
        by = "guide"
    except InputError:
        by = "importance weights"
        some = bounded_places(len(x))
        some = some[~np.isnan(x[some]).any(axis=1)]
        x, hidden = x[some], hidden[some]
        offsets = None if offsets is None else offsets[some]
    if not hidden.any():
        return None
    below = (_by_guide if by == "guide" else _by_weights)(fit, x, offsets, hidden)
    values = x[hidden]
    at, before = below(values), below(values - 1)
    z = quantile_residuals(before, at, seed)
    frequencies = (_of_ones if config.likelihood == "bernoulli" else _of_values)(values, below)
    return CountCalibration(z, np.nonzero(hidden)[0], by, frequencies)


def _by_guide(fit: Fit, x: Array, offsets: Array | None, hidden: np.ndarray) -> Below:
    found = fit.predict(np.where(hidden, np.nan, x), offsets=offsets)
    assert isinstance(found, CountPrediction)
    return found.of(hidden).cumulative


def _by_weights(fit: Fit, x: Array, offsets: Array | None, hidden: np.ndarray) -> Below:
    """By the model's own posterior of the rest: the guide's of the whole item is where draws come from."""
    assert fit.program is not None
    model, (items, features) = fit.generalised, np.nonzero(hidden)
    rest = np.where(hidden, np.nan, x)
    of = fit.program.offsets_of(rest, offsets)
    parts = fit.posterior_blocks(x, offsets=offsets)
    latents, weights = weighted_draws(model, rest, of, parts, WEIGHTED)
    level = model.intercept[features] + (0.0 if of is None else np.log(of)[items])

    def below(values: Array) -> Array:
        found = np.empty(len(values))
        for some in spans(len(values), AT_ONCE):
            n, d = items[some], features[some]
            eta = np.einsum("sek,ek->se", latents[:, n], model.loadings[d]) + level[some]
            own = None if model.concentration is None else model.concentration[d]
            found_of = cumulative(model.likelihood, np.maximum(values[some], 0.0), eta, own)
            found[some] = np.sum(weights[:, n] * found_of, axis=0)
        return np.where(values < 0, 0.0, found)

    return below


def _of_values(values: Array, below: Below) -> Frequencies | None:
    most = int(max(np.quantile(values, 1 - TAIL), 3))
    if most > MOST_VALUES:
        return None
    at = np.arange(most + 1.0)
    cumulated = np.array([below(np.full(len(values), v)).mean() for v in at])
    expected = np.diff(cumulated, prepend=0.0)
    observed = np.array([np.mean(values == v) for v in at])
    return Frequencies(at, observed, expected, _errors(expected, len(values)))


def _of_ones(values: Array, below: Below) -> Frequencies:
    probability = 1 - below(np.zeros(len(values)))
    bins = np.array_split(np.argsort(probability, kind="stable"), min(BINS, len(values)))
    at = np.array([probability[one].mean() for one in bins])
    observed = np.array([values[one].mean() for one in bins])
    return Frequencies(at, observed, at, _errors(at, len(bins[0])))


def _errors(share: Array, count: int) -> Array:
    return np.asarray(2 * np.sqrt(share * (1 - share) / count))
