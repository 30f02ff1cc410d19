"""Are predictions as certain as they say? Entries are hidden from their items and predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from twinplate.data.blocks import Array
from twinplate.errors import InputError
from twinplate.seeds import generator
from twinplate.training.state import Fit

LEVELS = np.append(np.arange(0.05, 0.951, 0.05), 0.99).round(2)
NAMED = 0.9  # the level that sentences are about
HIDDEN = 0.1  # of an item's entries, one at least
TOLERANCE = 0.02  # of the coverage, that nobody minds
FEW = 20  # items, of fewer of which the spread says little
TOO_FEW = 0.1  # two standard errors of the coverage, from which on it says nothing


@dataclass(frozen=True, eq=False)
class Calibration:
    """z: (n,), hidden entries less their predicted means, in predicted standard deviations.

    items: (n,), which one each is of.  by: who predicted, "guide" or "exact posterior".
    """

    z: Array
    items: np.ndarray
    by: str

    def coverage(self, level: float) -> tuple[float, float]:
        """The share of entries in their central intervals, and its standard error, by items.

        Entries of one item err together, so it is the items that are counted. The error is not below that
        of so many independent entries at `level` itself, as Wilson's interval takes it, nor where there are
        fewer than FEW items of so many items: all entries may be held by chance.
        """
        half = scipy.special.ndtri((1 + level) / 2)
        held = np.abs(self.z) <= half
        share = float(held.mean())
        items, index = np.unique(self.items, return_inverse=True)
        excess = np.bincount(index, held - share)
        count = len(items) if len(items) < FEW else len(held)
        nominal = np.sqrt(level * (1 - level) / count)
        return share, float(max(np.sqrt(np.sum(excess**2)) / len(held), nominal))

    @property
    def verdict(self) -> str:
        """ "calibrated", "too sure", "not sure enough" or "too few to say", by the coverage at NAMED."""
        share, error = self.coverage(NAMED)
        if 2 * error > TOO_FEW and abs(share - NAMED) <= 4 * error:
            return "too few to say"
        if abs(share - NAMED) <= max(TOLERANCE, 2 * error):
            return "calibrated"
        return "too sure" if share < NAMED else "not sure enough"


def calibrate(fit: Fit, x: Array, seed: int = 0) -> Calibration | None:
    """Hide a tenth of the entries of each item of `x` (N, D), one at least, and predict them from the rest.

    By the guide, or where it has never met a missing entry by the model's exact posterior. None with an
    amplitude, with which predictions have no closed form, and where no item has a rest to predict from.
    """
    hidden = hide(x, seed)
    if not hidden.any():
        return None
    given = np.where(hidden, np.nan, x)
    for by, exact in (("guide", False), ("exact posterior", True)):
        try:
            found = fit.predict(given, exact=exact)
        except InputError:
            continue
        return Calibration(((x - found.mean) / found.scale)[hidden], np.nonzero(hidden)[0], by)
    return None


def hide(x: Array, seed: int) -> np.ndarray:
    """Which entries to hide, (N, D): of each item a tenth of those that are observed, one at least.

    None of an item of one entry, which leaves nothing to predict it from.
    """
    observed = ~np.isnan(x)
    observed &= observed.sum(axis=1, keepdims=True) > 1
    order = np.where(observed, generator(seed, "hidden").random(x.shape), np.inf)
    rank = np.argsort(np.argsort(order, axis=1), axis=1)
    count = np.ceil(HIDDEN * observed.sum(axis=1)).astype(int)
    return observed & (rank < count[:, None])
