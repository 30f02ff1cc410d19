"""Where the generative parameters start: at maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from twinplate.data.blocks import Array, Rows, blocks, fitting, gather, spans
from twinplate.data.statistics import Statistics
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.factor_analysis import best_noise, factor_analysis, with_signs
from twinplate.programs.linear_gaussian import MATRIX_BYTES, LinearGaussian

# The least noise_scale, as a fraction of a feature's spread: a learned noise that could shrink to zero on a
# feature that is fitted exactly would make the likelihood infinite.
NOISE_FLOOR = 1e-3
LEAST_NOISE = 1.01 * NOISE_FLOOR  # where it starts

# Where entries are missing, the expected covariance of what is missing costs K D² products an item. Most
# steps are taken on FEW items, the last ones on at most as many as MOST or make for so many products.
FEW = 2000
MOST = 50_000
PRODUCTS = 2e10
STEPS = 100
LAST_STEPS = 4
ENOUGH = 1e-5  # nats per item between two steps
LEAST_EIGENVALUE = 1e-6  # of correlations that were estimated from other items each

# What a covariance (D, D) about a mean (D,) makes of a model, in standard units
Update = Callable[[Array, Array, LinearGaussian], LinearGaussian]


def likely_start(
    x: Matrix, num_components: int, units: Statistics, progress: Rows | None = None
) -> LinearGaussian:
    """Loadings, intercept and noise at maximum likelihood for `x` (N, D), NaN where missing.

    Complete data: factor analysis of their covariance, which one pass finds. Missing entries: EM over them
    (Dempster, Laird and Rubin, 1977), from the covariances of those items that have both features. The
    posterior precision of a complete item, less the prior's, is diagonal; where entries are missing, that
    of an item that has each feature as far as the data have it.

    units: statistics of `x`.  progress: told the rows of the pass.

    Raises InputError if K exceeds min(N, D).
    """
    limit = min(x.shape)
    if num_components > limit:
        raise InputError(
            f"num_components is {num_components}; expected 1 to min(items, features) = {limit}"
        )

    def update(mean: Array, covariance: Array, model: LinearGaussian) -> LinearGaussian:
        first = model.noise_scale
        fitted = factor_analysis(covariance, num_components, len(x), LEAST_NOISE, first)
        return LinearGaussian(fitted[0], mean, fitted[1])

    covariance = _covariance(x, units, progress)
    loadings, noise = factor_analysis(covariance, num_components, len(x), LEAST_NOISE)
    start = LinearGaussian(loadings, 0.0, noise)
    if units.missing.count:
        start = _expectation_maximisation(x, start, update, units)
        start = _with_diagonal_precision(start, units.observed / len(x))
    return _in_units_of_data(start, units)


def completed_start(
    x: Matrix,
    given: LinearGaussian,
    learned: tuple[str, ...],
    units: Statistics,
    progress: Rows | None = None,
) -> LinearGaussian:
    """`given` with intercept and noise, as far as `learned`, at maximum likelihood for `x` (N, D)."""

    def update(mean: Array, covariance: Array, model: LinearGaussian) -> LinearGaussian:
        values, at_mean = model.as_dict(), model.loadings @ model.loc
        if "intercept" in learned:
            values["intercept"] = mean - at_mean
        if "noise_scale" in learned:
            apart = mean - at_mean - values["intercept"]
            about, weighted = covariance + np.outer(apart, apart), model.loadings * model.scale
            signal = weighted @ weighted.T
            values["noise_scale"] = best_noise(
                about, signal, len(x), LEAST_NOISE, model.noise_scale
            )
        return LinearGaussian(**values)

    start = _in_standard_units(given, units)
    start = update(np.zeros(x.shape[1]), _covariance(x, units, progress), start)
    if units.missing.count:
        start = _expectation_maximisation(x, start, update, units)
    fitted = _in_units_of_data(start, units).as_dict()
    # What is given stays to the bit, without the way to standard units and back.
    return LinearGaussian(**given.as_dict() | {name: fitted[name] for name in learned})


def _covariance(x: Matrix, units: Statistics, progress: Rows | None) -> Array:
    """Of the standardised features (D, D), each entry from those items that have both."""
    size = x.shape[1]
    moment, counts = np.zeros((size, size)), np.zeros((size, size))
    holes = bool(units.missing.count)
    for _, block in blocks(x, progress):
        z = np.nan_to_num((block - units.mean) / units.spread)
        moment += z.T @ z
        if holes:
            observed = (~np.isnan(block)).astype(np.float64)
            counts += observed.T @ observed
    if not holes:
        return moment / len(x)
    values, vectors = np.linalg.eigh(moment / np.maximum(counts, 1))
    return np.asarray((vectors * np.maximum(values, LEAST_EIGENVALUE)) @ vectors.T)


def _expectation_maximisation(
    x: Matrix, model: LinearGaussian, update: Update, units: Statistics
) -> LinearGaussian:
    """The model at the maximum of the evidence of the observed entries: of some items, then of many."""
    d, k = model.loadings.shape
    most = int(max(1, min(MOST, PRODUCTS // (k * d**2))))
    for items, steps in ((min(FEW, most), STEPS), (most, LAST_STEPS)):
        some = _some(x, items)
        z = (some.astype(np.float64) - units.mean) / units.spread
        for _ in range(steps):
            before, model = model, update(*_expected_moments(z, model), model)
            if _divergence(before, model) < ENOUGH:
                break
        if len(some) == len(x):
            break
    return model


def _expected_moments(x: Array, model: LinearGaussian) -> tuple[Array, Array]:
    """Mean (D,) and covariance (D, D) of complete items, expected given the observed entries of `x`."""
    d, k = model.loadings.shape
    total, second = np.zeros(d), np.zeros((d, d))
    for rows in spans(len(x), fitting(8 * k * d, len(x), MATRIX_BYTES)):
        block, posterior = x[rows], model.posterior(x[rows])
        missing = np.isnan(block)
        filled = np.where(missing, posterior.loc @ model.loadings.T + model.intercept, block)
        factor = posterior.scale_tril.mT @ model.loadings.T  # (M, K, D)
        factor *= missing[:, None, :]
        flat = factor.reshape(-1, d)
        total += filled.sum(axis=0)
        second += filled.T @ filled + flat.T @ flat
        second += np.diag(missing.sum(axis=0) * model.noise_scale**2)
    mean = total / len(x)
    return mean, second / len(x) - np.outer(mean, mean)


def _divergence(one: LinearGaussian, other: LinearGaussian) -> float:
    """KL of the densities of a complete item, `one` from `other`, in nats."""
    first, second = (
        (m.loadings * m.scale) @ (m.loadings * m.scale).T + np.diag(m.noise_scale**2)
        for m in (one, other)
    )
    apart = one.intercept + one.loadings @ one.loc - other.intercept - other.loadings @ other.loc
    ratio = np.linalg.solve(second, first + np.outer(apart, apart))
    log_dets = np.linalg.slogdet(second)[1] - np.linalg.slogdet(first)[1]
    return 0.5 * float(np.trace(ratio) - len(first) + log_dets)


def _some(x: Matrix, most: int) -> np.ndarray:
    """Rows of `x` at equal distances, `most` of them at the most."""
    return gather(x, np.arange(0, len(x), -(-len(x) // most)))


def _with_diagonal_precision(model: LinearGaussian, observed: Array) -> LinearGaussian:
    """The same density of the data; the mean posterior precision, less the prior's, is diagonal.

    observed: (D,), the part of the items that have each feature.
    """
    weighted = model.loadings.T @ (model.loadings * (observed / model.noise_scale**2)[:, None])
    turned = model.loadings @ np.linalg.eigh(weighted)[1][:, ::-1]
    return LinearGaussian(with_signs(turned), model.intercept, model.noise_scale)


def _in_units_of_data(model: LinearGaussian, units: Statistics) -> LinearGaussian:
    return LinearGaussian(
        units.spread[:, None] * model.loadings,
        units.mean + units.spread * model.intercept,
        units.spread * model.noise_scale,
        model.loc,
        model.scale,
    )


def _in_standard_units(model: LinearGaussian, units: Statistics) -> LinearGaussian:
    return LinearGaussian(
        model.loadings / units.spread[:, None],
        (model.intercept - units.mean) / units.spread,
        model.noise_scale / units.spread,
        model.loc,
        model.scale,
    )
