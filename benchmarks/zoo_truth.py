"""Maximum-likelihood factor analysis in double precision: what a fit with learned loadings can reach.

The model is that of the programs (`twinplate.programs.linear_gaussian`): every feature has its own noise,
which is at least NOISE_FLOOR of the feature's spread. Nothing here is shared with what is measured: the
maximum is found by SciPy's L-BFGS-B, on the profile likelihood where data are complete (Jöreskog, 1967;
Bartholomew, Knott and Moustaki, *Latent Variable Models and Factor Analysis*, 2011, section 3.4) and on
the likelihood itself where entries are missing.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from twinplate.programs.linear_gaussian import LOG_2PI, Array, LinearGaussian
from twinplate.programs.start import NOISE_FLOOR
from twinplate.seeds import generator

STARTS = 8  # the likelihood may have several maxima, more than a nat apart
LEAST = 2 * float(
    np.log(NOISE_FLOOR)
)  # of the logarithm of a variance of noise, of standardised features
MOST = 2.0
# Stop at the last bits: some of these likelihoods are nearly flat.
PATIENT = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-14, "gtol": 1e-9, "maxcor": 30}


def maximum_likelihood(x: Array, num_components: int) -> LinearGaussian:
    """Loadings (D, K), intercept and noise of largest likelihood of `x` (N, D), NaN where missing."""
    center, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    z = (x - center) / spread
    fit = _with_holes if np.isnan(z).any() else _complete
    loadings, intercept, noise = fit(z, num_components)
    return LinearGaussian(spread[:, None] * loadings, center + spread * intercept, spread * noise)


def _complete(z: Array, k: int) -> tuple[Array, Array, Array]:
    moment = z.T @ z / len(z)
    logs = min((_profiled(moment, k, start) for start in _starts(moment, k)), key=lambda f: f.fun).x
    values, vectors = _leading(moment, logs, k)
    noise = np.exp(0.5 * logs)
    loadings = noise[:, None] * vectors * np.sqrt(np.maximum(values - 1, 0))
    return loadings, np.zeros(len(logs)), noise


def _starts(moment: Array, k: int) -> list[Array]:
    """Logarithms of first noise variances: what principal components leave, Jöreskog's, and random ones."""
    d = len(moment)
    values, vectors = np.linalg.eigh(moment)
    above = np.maximum(values[-k:] - values[:-k].mean() if k < d else values, 0)
    unique = 1 / np.diagonal(np.linalg.inv(moment + 1e-6 * np.eye(d)))
    left = np.maximum(1 - vectors[:, -k:] ** 2 @ above, NOISE_FLOOR**2)
    starts = [np.log(left), np.log((1 - k / (2 * d)) * unique)]
    rng = generator(0, "truth")
    starts += [np.log(rng.uniform(0.05, 0.95, d)) for _ in range(STARTS - len(starts))]
    return [np.clip(start, LEAST, 0.0) for start in starts]


def _profiled(moment: Array, k: int, start: Array):  # type: ignore[no-untyped-def]
    """The largest likelihood over the logarithms of the noise variances, from `start`."""
    diagonal = np.diagonal(moment)

    def loss(logs: Array) -> tuple[float, Array]:
        """Negative log likelihood per item at the best loadings for this noise, and its gradient."""
        values, vectors = _leading(moment, logs, k)
        above = np.maximum(values, 1)
        scaled = diagonal * np.exp(-logs)
        total = len(logs) * LOG_2PI + logs.sum() + scaled.sum() + (np.log(above) + 1 - above).sum()
        return 0.5 * total, 0.5 * (1 - scaled + vectors**2 @ (above - 1))

    bounds = [(LEAST, MOST)] * len(start)
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=PATIENT)


def _leading(moment: Array, logs: Array, k: int) -> tuple[Array, Array]:
    """The K largest eigenvalues of the moments in units of the noise, (K,), and their vectors (D, K)."""
    units = np.exp(-0.5 * logs)
    values, vectors = np.linalg.eigh(units[:, None] * moment * units)
    return values[-k:], vectors[:, -k:]


def _with_holes(z: Array, k: int) -> tuple[Array, Array, Array]:
    d, observed = z.shape[1], ~np.isnan(z)
    filled = np.where(observed, z, 0.0)
    # Missing entries at their means are a start, no more.
    start = np.concatenate([_complete(filled, k)[0].ravel(), np.zeros(d), np.full(d, np.log(0.5))])

    def loss(numbers: Array) -> tuple[float, Array]:
        value, gradients = _holed_loss(filled, observed, *_parts(numbers, d, k))
        return value, np.concatenate([g.ravel() for g in gradients])

    bounds = [(None, None)] * (d * k + d) + [(LEAST, MOST)] * d
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=PATIENT)
    loadings, intercept, logs = _parts(found.x, d, k)
    return loadings, intercept, np.exp(0.5 * logs)


def _parts(numbers: Array, d: int, k: int) -> tuple[Array, Array, Array]:
    loadings, intercept, logs = np.split(numbers, [d * k, d * k + d])
    return loadings.reshape(d, k), intercept, logs


def _holed_loss(
    filled: Array, observed: Array, loadings: Array, intercept: Array, logs: Array
) -> tuple[float, tuple[Array, Array, Array]]:
    """Negative log likelihood per item of observed entries, and its gradient in the three parameters.

    By Fisher's identity the gradient is that of the expected complete-data likelihood under the posteriors
    of the components at these very parameters.
    """
    n, k = len(filled), loadings.shape[1]
    weights, held = np.exp(-logs), observed.astype(float)
    apart = np.where(observed, filled - intercept, 0.0)
    outer = (loadings[:, :, None] * loadings[:, None, :]).reshape(-1, k * k)
    precision = ((held * weights) @ outer).reshape(n, k, k) + np.eye(k)
    covariance = np.linalg.inv(precision)
    pull = (apart * weights) @ loadings
    mean = (covariance @ pull[:, :, None])[:, :, 0]
    quadratic = (apart**2 * weights).sum() - (pull * mean).sum()
    value = held.sum() * LOG_2PI + (held @ logs).sum() + np.linalg.slogdet(precision)[1].sum()
    second = (covariance + mean[:, :, None] * mean[:, None, :]).reshape(n, k * k)
    seconds = (held.T @ second).reshape(
        -1, k, k
    )  # of the components, over the items of each feature
    crossed = apart.T @ mean
    pulled = np.einsum("dkl,dl->dk", seconds, loadings)
    means = held.T @ mean
    squares = (apart**2).sum(0) - 2 * (crossed * loadings).sum(1) + (pulled * loadings).sum(1)
    by_loadings = weights[:, None] * (pulled - crossed)
    by_intercept = weights * ((means * loadings).sum(1) - apart.sum(0))
    by_logs = 0.5 * (held.sum(0) - weights * squares)
    return 0.5 * (value + quadratic) / n, (by_loadings / n, by_intercept / n, by_logs / n)
