"""What an entry of the data can be, given the latents of its item: the likelihoods of the reference program.

Each entry has a predictor η = (loadings @ a + intercept)_d, plus the logarithm of its item's offset where the
items have offsets, and given it

    normal             x ~ Normal(η, noise_scale_d)
    poisson            x ~ Poisson(exp η)
    negative-binomial  x ~ NegativeBinomial with mean μ = exp η and variance μ + μ² / concentration_d
    bernoulli          x ~ Bernoulli(1 / (1 + exp -η))

The negative binomial of concentration c is SciPy's `nbinom(n=c, p=c / (c + μ))`.
Guides know other data than normal ones by a *working variable* in which the model is nearly
linear-Gaussian: log(1 + x / offset) of counts, and 4 x - 2 of zeros and ones, the logit to first order. There
an offset is over the geometric mean of those in training: in which unit offsets are does not matter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from twinplate.errors import InputError

Array = npt.NDArray[np.float64]

LIKELIHOODS = ("normal", "poisson", "negative-binomial", "bernoulli")
COUNTS = ("poisson", "negative-binomial")
# Where the offsets of items come from: everyone's is 1, or counts of the item in all, or they are given.
OFFSETS = ("none", "total", "given")
# 1 / concentration is learned as this plus a positive number. Log densities subtract logarithms of gamma
# functions of the concentration, so that in single precision a large one leaves nothing of their difference.
DISPERSION_FLOOR = 1e-3
LARGEST = 2.0**53  # count: not every whole number above it is a float64

EXPECTED = {
    **dict.fromkeys(COUNTS, "whole numbers, 0 or more"),
    "bernoulli": "zeros and ones",
}


def working(likelihood: str, x: Array, logs: Array | None = None) -> Array:
    """The working variable of `x` (N, D), NaN where missing.

    logs: (N,), logarithms of the offsets over their geometric mean, where there are any.
    """
    if likelihood in COUNTS:
        return np.log1p(x if logs is None else x * np.exp(-logs)[:, None])
    return 4.0 * x - 2.0 if likelihood == "bernoulli" else x


def check_values(likelihood: str, x: Array, first: int = 0, features: tuple[str, ...] = ()) -> None:
    """Raise InputError where an entry of `x` (N, D) cannot be; its first row is called row `first` + 1.

    features: names of the D features, where they are known.
    """
    if wrong := wrong_value(likelihood, x):
        row, column, why = wrong
        name = f" ({features[column]!r})" if features else ""
        raise InputError(
            f"x holds {x[row, column]:.12g} in row {first + row + 1}, column {column + 1}{name}, {why}, or "
            "likelihood 'normal'"
        )


def wrong_value(likelihood: str, x: Array) -> tuple[int, int, str] | None:
    """Row and column, from 0, of the first entry of `x` (N, D) that cannot be, and why; None without one."""
    if likelihood == "normal":
        return None
    with np.errstate(invalid="ignore"):
        counts = (x < 0) | (x != np.floor(x)) | ((x > LARGEST) & np.isfinite(x))
        wrong = (x != 0) & (x != 1) if likelihood == "bernoulli" else counts
    wrong &= ~np.isnan(x)
    if not wrong.any():
        return None
    row, column = (int(i) for i in np.argwhere(wrong)[0])
    if likelihood != "bernoulli" and x[row, column] > LARGEST:
        why = (
            "above 2^53, from where on float64 has not every whole number; expected smaller counts"
        )
    else:
        why = f"which is no {likelihood} data; expected {EXPECTED[likelihood]}, NaN where missing"
    return row, column, why


def log_density(
    likelihood: str, x: Array, predictor: Array, concentration: Array | None = None
) -> Array:
    """log p(x | η), entry by entry, of arrays that broadcast; not for the normal likelihood."""
    if likelihood == "bernoulli":
        return -np.logaddexp(0.0, np.where(x == 1, -predictor, predictor))
    if likelihood == "poisson":
        return np.asarray(x * predictor - np.exp(predictor) - scipy.special.gammaln(x + 1))
    assert concentration is not None
    logits = predictor - np.log(concentration)
    ways = -scipy.special.betaln(concentration, x + 1) - np.log(concentration + x)
    ratio = -concentration * np.logaddexp(0, logits) - x * np.logaddexp(0, -logits)
    return np.asarray(ways + ratio)


def mean_and_variance(
    loc: Array, scale: Array, concentration: Array | None = None
) -> tuple[Array, Array]:
    """Of counts whose predictor is Normal(loc, scale): a mean is log-normal then, and its moments known."""
    mean = np.exp(loc + 0.5 * scale**2)
    square = np.exp(2 * loc + 2 * scale**2)
    variance = mean + square - mean**2
    return mean, variance if concentration is None else variance + square / concentration


def cumulative(
    likelihood: str, x: Array, predictor: Array, concentration: Array | None = None
) -> Array:
    """P(X ≤ x | η) of whole numbers x ≥ 0, of arrays that broadcast; not for the normal likelihood."""
    if likelihood == "bernoulli":
        return np.where(x >= 1, 1.0, scipy.special.expit(-predictor))
    if likelihood == "poisson":
        return np.asarray(scipy.special.pdtr(x, np.exp(predictor)))
    assert concentration is not None
    success = scipy.special.expit(np.log(concentration) - predictor)
    return np.asarray(scipy.special.betainc(concentration, x + 1, success))


def draw(
    likelihood: str, predictor: Array, concentration: Array | None, rng: np.random.Generator
) -> Array:
    """One draw for every predictor, as float64; not for the normal likelihood."""
    if likelihood == "bernoulli":
        return (rng.random(predictor.shape) < scipy.special.expit(predictor)).astype(np.float64)
    mean = np.exp(predictor)
    if likelihood == "poisson":
        return rng.poisson(mean).astype(np.float64)
    assert concentration is not None
    return rng.negative_binomial(concentration, concentration / (concentration + mean)).astype(
        float
    )
