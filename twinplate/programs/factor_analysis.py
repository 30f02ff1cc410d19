"""Maximum-likelihood factor analysis from a covariance matrix: loadings and one noise for every feature.

For given noise the best loadings are a closed form (Lawley, 1940; Jöreskog, *Psychometrika* 32, 1967): with
Ψ = diag(noise²), and θ_m, ω_m the eigenvalues and eigenvectors of Ψ^-½ S Ψ^-½ in falling order, column k is
Ψ^½ ω_k √(θ_k - 1). What is left is a function of D numbers, the logarithms of the noise variances,

    ½ [Σ_d log ψ_d² + Σ_{k ≤ K} (log θ_k + 1) + Σ_{m > K} θ_m],  gradient ½ Σ_{m > K} (1 - θ_m) ω_md²,

minimised by L-BFGS-B. A step costs D³, however many items there are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy

from twinplate.seeds import generator

Array = npt.NDArray[np.float64]

# A noise variance of zero (a Heywood case) is often the maximum of the likelihood where there are more
# components than the data have. A posterior without any width cannot be trained. So the noise has a prior
# (Martin and McDonald, *Psychometrika* 40, 1975) that counts as much as this part of one item.
PRIOR_ITEMS = 0.1
ALIKE = 0.1  # of each feature's variance
# Starts at random where one costs some hundredths of a second. In 60 draws of 200 items and 12 features
# with 2 of 5 components, the three that are known miss the best of 30 by 0.01 nat or more four times.
OTHERS, FEW_FEATURES = 5, 128
LEAST_STRENGTH = 1e-4  # of a component that the data do not have, θ - 1: no loading is lost


def factor_analysis(
    covariance: Array,
    num_components: int,
    num_items: int,
    least_noise: float,
    first: Array | None = None,
) -> tuple[Array, Array]:
    """Loadings (D, K) and noise scale (D,) of features with this `covariance` (D, D), near 1 on its diagonal.

    num_items: N, against which the prior of the noise counts.  least_noise: > 0, what no noise is below.
    first: (D,), a noise scale to look from; by default several, as the likelihood may have several maxima.

    Loadingsᵀ diag(noise⁻²) loadings is diagonal, from the strongest component to the weakest, so that the
    posterior of complete items is diagonal too; the largest loading of each component is positive.
    """

    def objective(log_variances: Array) -> tuple[float, Array]:
        strengths, directions = _spectrum(covariance, log_variances)
        used = (np.arange(len(strengths)) < num_components) & (strengths > 1)
        rest, across = strengths[~used], directions[:, ~used] ** 2
        value = log_variances.sum() + np.sum(np.log(strengths[used]) + 1) + rest.sum()
        return 0.5 * float(value), 0.5 * across @ (1 - rest)

    starts = _starts(covariance, num_components) if first is None else [first]
    found = [_least(objective, covariance, num_items, least_noise, start) for start in starts]
    noise_scale = min(found, key=lambda one: one[0])[1]
    spectrum = _spectrum(covariance, 2 * np.log(noise_scale))
    strengths, directions = (part[..., :num_components] for part in spectrum)
    excess = np.maximum(strengths - 1, LEAST_STRENGTH)
    return with_signs(noise_scale[:, None] * directions * np.sqrt(excess)), noise_scale


def best_noise(
    covariance: Array, signal: Array, num_items: int, least_noise: float, first: Array
) -> Array:
    """The noise scale (D,) of features with this `covariance`, of which `signal` (D, D) is explained."""

    def objective(log_variances: Array) -> tuple[float, Array]:
        variances = np.exp(log_variances)
        precision = np.linalg.inv(signal + np.diag(variances))
        value = -np.linalg.slogdet(precision)[1] + np.sum(precision * covariance)
        gradient = np.diag(precision) - np.sum((precision @ covariance) * precision, axis=1)
        return 0.5 * float(value), 0.5 * variances * gradient

    return _least(objective, covariance, num_items, least_noise, first)[1]


def conditional_variances(covariance: Array) -> Array:
    """What is left of each feature's variance, (D,), once all others are known: least of all noises."""
    ridge = 1e-9 * np.eye(len(covariance))
    return np.asarray(1 / np.diag(np.linalg.inv(covariance + ridge)))


def with_signs(loadings: Array) -> Array:
    """The same with the largest loading of each component positive."""
    largest = loadings[np.argmax(np.abs(loadings), axis=0), np.arange(loadings.shape[1])]
    return loadings * np.where(largest < 0, -1.0, 1.0)


def _starts(covariance: Array, num_components: int) -> list[Array]:
    """Noise scales (D,) to look from: Jöreskog's, what the principal components leave, all alike, and others.

    Each of them misses the largest of several maxima now and then, seldom the same one.
    """
    size, share = len(covariance), 1 - 0.5 * num_components / len(covariance)
    values, vectors = np.linalg.eigh(covariance)
    left = np.diag(covariance) - vectors[:, -num_components:] ** 2 @ values[-num_components:]
    known = [share * conditional_variances(covariance), np.maximum(left, 0), np.full(size, ALIKE)]
    rng = generator(0, "factor analysis")
    others = [rng.uniform(0.05, 0.95, size) for _ in range(OTHERS if size <= FEW_FEATURES else 0)]
    return [np.sqrt(variances) for variances in (*known, *others)]


def _least(
    objective: Callable[[Array], tuple[float, Array]],
    covariance: Array,
    num_items: int,
    least_noise: float,
    first: Array,
) -> tuple[float, Array]:
    """The least of `objective`, by log variances, with the prior's share; and the noise scale (D,) there."""
    prior = 0.5 * conditional_variances(covariance) * PRIOR_ITEMS / num_items
    lowest, highest = 2 * np.log(least_noise), 2 * np.log(np.maximum(first, 2.0))

    def with_prior(log_variances: Array) -> tuple[float, Array]:
        value, gradient = objective(log_variances)
        pull = prior * np.exp(-log_variances)
        return value + float(pull.sum()), gradient - pull

    found = scipy.optimize.minimize(
        with_prior,
        np.clip(2 * np.log(np.maximum(first, least_noise)), lowest, highest),
        jac=True,
        method="L-BFGS-B",
        bounds=[(lowest, high) for high in highest],
        options={"maxiter": 500, "maxfun": 1000, "ftol": 1e-11, "gtol": 1e-6, "maxcor": 20},
    )
    return float(found.fun), np.asarray(np.exp(0.5 * found.x))


def _spectrum(covariance: Array, log_variances: Array) -> tuple[Array, Array]:
    """θ and ω, in falling order of θ."""
    inverse = np.exp(-0.5 * log_variances)
    values, vectors = np.linalg.eigh(covariance * inverse[:, None] * inverse)
    return values[::-1], vectors[:, ::-1]
