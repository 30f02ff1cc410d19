"""How a draw moves with the parameters of its distribution: paths written with NumPy and SciPy.

The same for both twins, each of which brings the distributions.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import beta, expit


def on_simplex(x):
    return x / x.sum()


def moments(family, upper=np.inf):
    """Path through mean and standard deviation, from SciPy's, for a support from 0 to `upper`.

    Nearer to an edge than the mean it is as much slower as it is nearer.
    """

    def path_of(x, *params):
        mean, std = family(*params).mean(), family(*params).std()
        z = (x - mean) / std
        above = 1.0 if upper == np.inf else (upper - x) / (upper - mean)
        speed = np.minimum(np.minimum(x / mean, above), 1.0)
        return lambda *moved: (
            x + speed * (family(*moved).mean() + family(*moved).std() * z - (mean + std * z))
        )

    return path_of


def fixed_noise(noise, value):
    """Path `value(noise, *params)` with the noise that gives x."""
    return lambda x, *params: lambda *moved: value(noise(x, *params), *moved)


def tril_noise(x, loc, tril):
    return np.linalg.solve(np.tril(tril), x - loc)


def low_rank(factor, diagonal):
    return np.linalg.cholesky(factor @ factor.T + np.diag(diagonal))


class Kumaraswamy:
    def __init__(self, a, b):
        self.first, self.second = (b * beta(1 + n / a, b) for n in (1, 2))

    def mean(self):
        return self.first

    def std(self):
        return np.sqrt(self.second - self.first**2)


LOCATION_SCALE = fixed_noise(lambda x, m, s: (x - m) / s, lambda e, m, s: m + s * e)
SCALE = fixed_noise(lambda x, s: x / s, lambda e, s: s * e)
VECTOR = np.array([0.4, -1.0])
TRIL = np.array([[1.3, 0.0], [0.5, 0.7]])
FACTOR = np.array([[0.5], [-0.8]])

# a value, the parameters, and the path that is expected: (x, *params) -> (*moved) -> x
PATHS = {
    "Normal": (0.7, (0.2, 1.5), LOCATION_SCALE),
    "Laplace": (-0.7, (0.2, 1.5), LOCATION_SCALE),
    "Cauchy": (30.0, (0.2, 1.5), LOCATION_SCALE),
    "Gumbel": (2.0, (0.2, 1.5), LOCATION_SCALE),
    "Logistic": (2.0, (0.2, 1.5), LOCATION_SCALE),
    "SoftLaplace": (2.0, (0.2, 1.5), LOCATION_SCALE),
    "StudentT": (2.0, (0.2, 1.5), LOCATION_SCALE),
    "AsymmetricLaplace": (2.0, (0.2, 1.5), LOCATION_SCALE),
    "HalfNormal": (0.7, (1.5,), SCALE),
    "HalfCauchy": (7.0, (1.5,), SCALE),
    "Exponential": (0.7, (1.5,), fixed_noise(lambda x, r: x * r, lambda e, r: e / r)),
    "Uniform": (
        0.7, (0.2, 1.5),
        fixed_noise(lambda x, a, b: (x - a) / (b - a), lambda u, a, b: a + (b - a) * u),
    ),
    "LogNormal": (
        0.7, (0.2, 1.5),
        fixed_noise(lambda x, m, s: (np.log(x) - m) / s, lambda e, m, s: np.exp(m + s * e)),
    ),
    "Pareto": (
        2.7, (1.5, 2.5),
        fixed_noise(lambda x, s, a: a * np.log(x / s), lambda e, s, a: s * np.exp(e / a)),
    ),
    "RelaxedBernoulli": (
        0.8, (0.4,),
        fixed_noise(lambda x, a: 0.6 * np.log(x / (1 - x)) - a, lambda e, a: expit((a + e) / 0.6)),
    ),
    "InverseGamma": (
        0.7, (1.5, 2.5),
        lambda x, *p: (lambda *q: 1 / moments(lambda a, b: stats.gamma(a, scale=1 / b))(1 / x, *p)(*q)),
    ),
    "Gamma": (0.7, (1.5, 2.5), moments(lambda a, b: stats.gamma(a, scale=1 / b))),
    "Beta": (0.7, (1.5, 2.5), moments(stats.beta, 1)),
    "Kumaraswamy": (0.7, (1.5, 2.5), moments(Kumaraswamy, 1)),
    "Weibull": (0.7, (1.5, 2.5), moments(lambda s, c: stats.weibull_min(c, scale=s))),
    "Dirichlet": (
        np.array([0.5, 0.3, 0.2]), (np.array([1.0, 2.0, 3.0]),),
        lambda x, *p: (lambda *q: on_simplex(moments(lambda a: stats.beta(a, a.sum() - a), 1)(x, *p)(*q))),
    ),
    "MultivariateNormal": (
        np.array([1.0, 2.0]), (VECTOR, TRIL),
        fixed_noise(tril_noise, lambda e, m, tril: m + np.tril(tril) @ e),
    ),
    "MultivariateNormal, covariance": (
        np.array([1.0, 2.0]), (VECTOR, TRIL @ TRIL.T),
        fixed_noise(
            lambda x, m, c: np.linalg.solve(np.linalg.cholesky(c), x - m),
            lambda e, m, c: m + np.linalg.cholesky((c + c.T) / 2) @ e,
        ),
    ),
    "LowRankMultivariateNormal": (
        np.array([1.0, 2.0]), (VECTOR, FACTOR, np.array([0.3, 0.9])),
        fixed_noise(
            lambda x, m, w, d: np.linalg.solve(low_rank(w, d), x - m),
            lambda e, m, w, d: m + low_rank(w, d) @ e,
        ),
    ),
    "affine of a normal": (
        0.7, (0.2, 1.5),
        fixed_noise(lambda x, m, s: ((x - 1) / 3 - m) / s, lambda e, m, s: 1 + 3 * (m + s * e)),
    ),
    "wrapped": (np.array([0.7, 3.0]), (0.2, 1.5), LOCATION_SCALE),
}  # fmt: skip
