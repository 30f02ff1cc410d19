"""What a fitted model of counts, or of zeros and ones, predicts of the entries of items.

Given an item, the predictor η of an entry is normal under a guide that is, so that what a measurement would
be is a mixture over one number. Its mean and variance are known where exp η is the mean, and its
distribution function is an integral over η alone: by Gauss-Hermite quadrature, and no draws.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy

from twinplate.data.stored import Matrix
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.likelihood import LARGEST, cumulative, draw, mean_and_variance
from twinplate.programs.linear_gaussian import Array, Gaussian, placed
from twinplate.programs.prediction import check_level
from twinplate.seeds import generator

NODES = 32  # of the quadrature


@dataclass(frozen=True, eq=False)
class CountPrediction:
    """A distribution for every entry of `x` (N, D): what a measurement of it would be, given its item.

    x: as it was given, NaN where missing.  loc, spread: (N, D), of the predictor, which is normal.
    concentration: (D,), of the negative binomial, else None.

    >>> import numpy as np
    >>> from twinplate import CountPrediction
    >>> x, loc = np.array([[3.0, np.nan]]), np.log([[2.0, 5.0]])
    >>> found = CountPrediction("poisson", x, loc, spread=np.zeros((1, 2)))
    >>> found.imputed.round(6)
    array([[3., 5.]])
    >>> found.interval(0.9)  # of Poisson counts with mean 2 and 5: whole numbers
    (array([[0., 2.]]), array([[5., 9.]]))
    """

    likelihood: str
    x: Array
    loc: Array
    spread: Array
    concentration: Array | None = None

    @property
    def mean(self) -> Array:
        """The mean of a measurement, (N, D)."""
        return self._moments()[0]

    @property
    def scale(self) -> Array:
        """The standard deviation of a measurement, (N, D)."""
        return np.sqrt(self._moments()[1])

    @property
    def imputed(self) -> Array:
        """`x` with the mean, which is no whole number, in place of what is missing, (N, D)."""
        return np.where(np.isnan(self.x), self.mean, self.x)

    def cumulative(self, x: Array) -> Array:
        """P(X ≤ x) of a measurement, for whole numbers `x` (N, D); 0 of those below 0."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        found = np.zeros(x.shape)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            predictor = self.loc + self.spread * node
            found += weight * cumulative(
                self.likelihood, np.maximum(x, 0), predictor, self.concentration
            )
        return np.asarray(np.where(x < 0, 0.0, found))

    def residuals(self, x: Array, *, seed: int = 0) -> Array:
        """Randomised quantile residuals of measurements `x` (N, D); NaN where it is.

        Φ⁻¹ of a number drawn between P(X < x) and P(X ≤ x): standard normal where the predictions are right,
        which no residual without a draw is of whole numbers (Dunn and Smyth, *JCGS* 5, 1996).
        """
        whole = np.nan_to_num(x)
        found = quantile_residuals(self.cumulative(whole - 1), self.cumulative(whole), seed)
        return np.where(np.isnan(x), np.nan, found)

    def quantile(self, probability: float) -> Array:
        """The least whole number that a measurement does not exceed with `probability`, (N, D).

        Raises InputError unless 0 < probability < 1.
        """
        check_level(probability)
        low, high = np.full(self.loc.shape, -1.0), np.ones(self.loc.shape)
        while (short := (self.cumulative(high) < probability) & (high < LARGEST)).any():
            low, high = np.where(short, high, low), np.where(short, 2 * high, high)
        while (high - low > 1).any():
            middle = np.floor((low + high) / 2)
            above = self.cumulative(middle) >= probability
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return high

    def interval(self, level: float = 0.9) -> tuple[Array, Array]:
        """The ends (N, D) of the central interval: whole numbers that hold at least `level` between them.

        Raises InputError unless 0 < level < 1.
        """
        tail = (1 - check_level(level)) / 2
        return self.quantile(tail), self.quantile(1 - tail)

    def of(self, entries: np.ndarray) -> CountPrediction:
        """That of some entries, where a boolean array (N, D) is true, with one axis."""
        c = self.concentration
        wide = None if c is None else np.broadcast_to(c, self.x.shape)[entries]
        values = self.x[entries], self.loc[entries], self.spread[entries]
        return CountPrediction(self.likelihood, *values, wide)

    def sample(self, num_samples: int = 1, *, seed: int = 0) -> Array:
        """Measurements (num_samples, N, D), whole numbers as float64, each entry by itself."""
        rng = generator(seed, "counts")
        noise = rng.standard_normal((num_samples, *self.loc.shape))
        predictor = self.loc + self.spread * noise
        return draw(self.likelihood, predictor, self.concentration, rng)

    def _moments(self) -> tuple[Array, Array]:
        if self.likelihood != "bernoulli":
            return mean_and_variance(self.loc, self.spread, self.concentration)
        mean = 1 - self.cumulative(np.zeros(self.loc.shape))
        return mean, mean * (1 - mean)


def quantile_residuals(low: Array, high: Array, seed: int) -> Array:
    """Φ⁻¹ of numbers drawn between the probabilities `low` and `high`, which have one shape."""
    share = generator(seed, "residuals").random(low.shape)
    inside = np.clip(low + share * (high - low), np.finfo(float).tiny, 1 - 2.0**-53)
    return np.asarray(scipy.special.ndtri(inside))


def predict_counts(
    model: GeneralisedLinear, x: Matrix, offsets: Array | None, parts: Iterable[Gaussian]
) -> CountPrediction:
    """What measurements of the items `x` (N, D) with offsets (N,) would be, by posteriors in parts."""
    loc, spread = np.empty(x.shape), np.empty(x.shape)
    for rows, part in placed(parts):
        loc[rows] = model.predictor(part.loc, None if offsets is None else offsets[rows])
        spread[rows] = np.sqrt(np.sum((model.loadings @ part.scale_tril) ** 2, axis=-1))
    values = np.array(x, np.float64)
    return CountPrediction(model.likelihood, values, loc, spread, model.concentration)
