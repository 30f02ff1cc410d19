"""Where a program of counts or of zeros and ones starts: at the factor analysis of its working variable.

The loadings are those of maximum likelihood for the working variable (`twinplate.programs.likelihood`), and
the intercepts make the mean of each feature what it is in the data. The guide starts at the posterior of
that linear-Gaussian model. Dispersions of the negative binomial are by moments: what variances exceed
those of Poisson counts by, less what the components explain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from twinplate.data.blocks import Rows, blocks, gather
from twinplate.data.statistics import Statistics, read_statistics
from twinplate.data.stored import Matrix, Stored
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.likelihood import check_values, working
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.offsets import offsets_of
from twinplate.programs.start import completed_start, likely_start

# Where a dispersion starts: what moments say is seldom better known, and what is far off learns slowly.
LEAST_DISPERSION, MOST_DISPERSION = 0.02, 10.0
LEAST_COUNT = 0.5  # of a feature in all, so that the logarithm of its mean is finite


class WorkingRows(Stored):
    """The working variable of `x` (N, D), made of its rows when they are asked for: `x` may be on disk.

    logs: (N,), of offsets over their geometric mean, if there are any.

    >>> import numpy as np
    >>> WorkingRows("bernoulli", np.eye(2), None)[:1]
    array([[ 2., -2.]])
    """

    def __init__(self, likelihood: str, x: Matrix, logs: Array | None) -> None:
        super().__init__((len(x), x.shape[1]), np.float64, (0, len(x)))
        self._likelihood, self._x, self._logs = likelihood, x, logs

    def pieces(self, start: int, stop: int) -> Iterator[np.ndarray]:
        for first, block in blocks(self._x, rows=slice(start, stop)):
            yield self._of(block, slice(first, first + len(block)))

    def with_columns(self, places: Sequence[int]) -> Stored:
        x = self._x
        some = x.with_columns(places) if isinstance(x, Stored) else x[:, list(places)]
        return WorkingRows(self._likelihood, some, self._logs)

    def take(self, indices: npt.NDArray[np.int64]) -> np.ndarray:
        return self._of(gather(self._x, indices).astype(np.float64), indices)

    def _of(self, values: Array, rows: slice | npt.NDArray[np.int64]) -> Array:
        logs = None if self._logs is None else self._logs[rows]
        return working(self._likelihood, values, logs)


@dataclass(frozen=True, eq=False)
class CountStart:
    """model: loadings and intercept of the predictor, noise of the working variable.

    units: statistics of the working variable.  concentration: (D,) of the negative binomial.
    """

    model: LinearGaussian
    units: Statistics
    concentration: Array | None


def count_start(
    x: Matrix,
    likelihood: str,
    num_components: int,
    offsets: Array | None,
    generative: GeneralisedLinear | None = None,
    progress: Rows | None = None,
    features: tuple[str, ...] = (),
) -> CountStart:
    """The start for `x` (N, D), NaN where missing, whose items have these offsets (N,).

    generative: what is given instead. Its noise of the working variable is at maximum likelihood.
    features: names of the D features, where they are known.

    Raises InputError where an entry of `x` cannot be, and if K exceeds min(N, D).
    """
    logs = None if offsets is None else np.log(offsets) - np.log(offsets).mean()
    rows = WorkingRows(likelihood, x, logs)
    for start, block in blocks(x):
        check_values(likelihood, block, start, features)
    units = read_statistics(rows, progress)
    if generative is not None:
        given = LinearGaussian(
            generative.loadings, units.mean, units.spread, generative.loc, generative.scale
        )
        found = completed_start(rows, given, ("intercept", "noise_scale"), units, progress)
        values = {**found.as_dict(), "intercept": generative.intercept}
        return CountStart(LinearGaussian(**values), units, generative.concentration)
    found = likely_start(rows, num_components, units, progress)
    intercept, concentration = _by_moments(likelihood, x, offsets, found.loadings)
    model = LinearGaussian(found.loadings, intercept, found.noise_scale)
    return CountStart(model, units, concentration)


def completed_counts(
    x: Matrix, config: ProgramConfig, given: Mapping[str, Array], offsets: Array | None
) -> GeneralisedLinear:
    """What is given, loadings (D, K) at least, and the start of all else for `x` (N, D).

    offsets: those that are given (N,).  Raises InputError for a noise scale, which such data have not.
    """
    if "noise_scale" in given:
        raise InputError(
            f"noise_scale is given with likelihood {config.likelihood!r}, which has none; expected "
            "loadings, intercept, loc and scale at most"
        )
    means = feature_means(x) if config.offset == "total" else None
    found = offsets_of(config, means, x, offsets)
    loc, scale = given.get("loc", 0.0), given.get("scale", 1.0)
    signal = given["loadings"] * scale
    intercept, concentration = _by_moments(config.likelihood, x, found, signal)
    values = {"intercept": intercept - given["loadings"] @ (loc * np.ones(signal.shape[1]))}
    return GeneralisedLinear(config.likelihood, **{**values, **given}, concentration=concentration)


def _by_moments(
    likelihood: str, x: Matrix, offsets: Array | None, loadings: Array
) -> tuple[Array, Array | None]:
    """Intercept (D,), and of the negative binomial the concentration, for loadings × the prior's scale."""
    signal = np.sum(loadings**2, axis=1)
    mean, dispersion = _moments(likelihood, x, offsets)
    if likelihood == "bernoulli":
        return scipy.special.logit(mean), None
    intercept = np.log(mean) - 0.5 * signal
    if likelihood == "poisson":
        return intercept, None
    own = (1 + dispersion) * np.exp(-signal) - 1
    return intercept, 1 / np.clip(own, LEAST_DISPERSION, MOST_DISPERSION)


def working_model(start: LinearGaussian, center: Array) -> LinearGaussian:
    """The linear-Gaussian model of the working variable with this mean (D,), from a start's `model`."""
    values = {**start.as_dict(), "intercept": center - start.loadings @ start.loc}
    return LinearGaussian(**values)


def feature_means(x: Matrix) -> Array:
    """The mean of the observed entries of each feature, (D,); at least LEAST_COUNT counts in all."""
    total, number = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for _, block in blocks(x):
        total += np.nansum(block, axis=0)
        number += np.sum(~np.isnan(block), axis=0)
    return np.asarray(np.maximum(total, LEAST_COUNT) / np.maximum(number, 1))


def _moments(likelihood: str, x: Matrix, offsets: Array | None) -> tuple[Array, Array]:
    """Of each feature its mean at offset 1, and what its variance exceeds Poisson's by, over mean²; (D,)."""
    d = x.shape[1]
    total, exposure, square, number = np.zeros(d), np.zeros(d), np.zeros(d), np.zeros(d)
    for start, block in blocks(x):
        observed = ~np.isnan(block)
        values = np.where(observed, block, 0.0)
        of = np.ones(len(block)) if offsets is None else offsets[start : start + len(block)]
        total += values.sum(axis=0)
        exposure += of @ observed
        # E[x (x - 1)] = offset² mean² (1 + dispersion) of one item
        square += np.sum(values * (values - 1), axis=0)
        number += of**2 @ observed
    if likelihood == "bernoulli":
        mean = np.clip(total, LEAST_COUNT, exposure - LEAST_COUNT) / exposure
        return mean, np.zeros(d)
    mean = np.maximum(total, LEAST_COUNT) / exposure
    return mean, square / number / mean**2 - 1
