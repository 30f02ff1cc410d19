"""Log densities in mpmath, written from the textbook formulas: the judge of both frameworks.

A value or parameter is an mpf or a list of them; functions are named for the family and parametrisation
they judge. `matrix_log_densities` and `log_probabilities` have the rest. Nothing imports a framework.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mpmath import mp, mpf

Number = Any
Vector = list[Any]


def log_beta(a: Number, b: Number) -> Number:
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def sigmoid(t: Number) -> Number:
    return 1 / (1 + mp.exp(-t))


def softmax(logits: Vector) -> Vector:
    top = max(logits)
    return [mp.exp(t - top) for t in logits]


# Real line


def normal(x, loc, scale):
    return -(((x - loc) / scale) ** 2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2


def laplace(x, loc, scale):
    return -abs(x - loc) / scale - mp.log(2 * scale)


def asymmetric_laplace(x, loc, scale, asymmetry):
    left, right = scale * asymmetry, scale / asymmetry
    return -abs(x - loc) / (left if x < loc else right) - mp.log(left + right)


def asymmetric_laplace_quantile(x, loc, scale, quantile):
    """Density q (1 - q) / scale · exp(-check loss of (x - loc) / scale)."""
    z = (x - loc) / scale
    return mp.log(quantile * (1 - quantile) / scale) - z * (quantile - (1 if z < 0 else 0))


def soft_laplace(x, loc, scale):
    z = (x - loc) / scale
    return mp.log(2 / mp.pi) - mp.log(scale) - mp.log(mp.exp(z) + mp.exp(-z))


def cauchy(x, loc, scale):
    return -mp.log(mp.pi * scale) - mp.log(1 + ((x - loc) / scale) ** 2)


def gumbel(x, loc, scale):
    z = (x - loc) / scale
    return -z - mp.exp(-z) - mp.log(scale)


def logistic(x, loc, scale):
    z = (x - loc) / scale
    return -z - mp.log(scale) - 2 * mp.log(1 + mp.exp(-z))


def student_t(x, df, loc, scale):
    normaliser = mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2)
    normaliser -= mp.log(df * mp.pi) / 2 + mp.log(scale)
    return normaliser - (df + 1) / 2 * mp.log(1 + ((x - loc) / scale) ** 2 / df)


def uniform(x, low, high):
    return -mp.log(high - low)


def mixture_of_normals(x, logits, loc, scale):
    weights = softmax(logits)
    parts = zip(weights, loc, scale, strict=True)
    return mp.log(sum(w * mp.exp(normal(x, m, s)) for w, m, s in parts) / sum(weights))


def expanded_normal(x, loc, scale):
    return sum(normal(v, loc, scale) for v in x)


def independent_normal(x, loc, scale):
    return sum(normal(*each) for each in zip(x, loc, scale, strict=True))


def masked_normal(x, loc, scale, mask):
    return mask * normal(x, loc, scale)


# Half line and intervals


def log_normal(x, loc, scale):
    return normal(mp.log(x), loc, scale) - mp.log(x)


def half_normal(x, scale):
    return mp.log(2) + normal(x, 0, scale)


def half_cauchy(x, scale):
    return mp.log(2) + cauchy(x, 0, scale)


def folded_normal(x, loc, scale):
    return mp.log(mp.exp(normal(x, loc, scale)) + mp.exp(normal(-x, loc, scale)))


def exponential(x, rate):
    return mp.log(rate) - rate * x


def gamma(x, concentration, rate):
    power = concentration * mp.log(rate) + (concentration - 1) * mp.log(x)
    return power - rate * x - mp.loggamma(concentration)


def inverse_gamma(x, concentration, rate):
    return gamma(1 / x, concentration, rate) - 2 * mp.log(x)


def chi2(x, df):
    return gamma(x, df / 2, mpf(1) / 2)


def pareto(x, scale, alpha):
    return mp.log(alpha) + alpha * mp.log(scale) - (alpha + 1) * mp.log(x)


def weibull(x, scale, concentration):
    z = x / scale
    return mp.log(concentration / scale) + (concentration - 1) * mp.log(z) - z**concentration


def beta(x, concentration1, concentration0):
    kernel = (concentration1 - 1) * mp.log(x) + (concentration0 - 1) * mp.log(1 - x)
    return kernel - log_beta(concentration1, concentration0)


def beta_proportion(x, mean, concentration):
    return beta(x, mean * concentration, (1 - mean) * concentration)


def affine_beta(x, concentration1, concentration0, loc, scale):
    return beta((x - loc) / scale, concentration1, concentration0) - mp.log(scale)


def kumaraswamy(x, concentration1, concentration0):
    kernel = (concentration1 - 1) * mp.log(x) + (concentration0 - 1) * mp.log(1 - x**concentration1)
    return mp.log(concentration1 * concentration0) + kernel


def log_uniform(x, low, high):
    return -mp.log(x) - mp.log(mp.log(high / low))


def logit_normal(x, loc, scale):
    return normal(mp.log(x / (1 - x)), loc, scale) - mp.log(x) - mp.log(1 - x)


def relaxed_bernoulli(x, temperature, logits):
    """The binary Concrete distribution, by its logistic variable."""
    z = mp.log(x / (1 - x))
    return logistic(z, logits / temperature, 1 / temperature) - mp.log(x) - mp.log(1 - x)


def relaxed_bernoulli_probs(x, temperature, probs):
    return relaxed_bernoulli(x, temperature, mp.log(probs / (1 - probs)))


def truncated_polya_gamma(x):
    """Polya-Gamma(1, 0) by the first seven terms of its series, as both libraries define it.

    The series itself is 2e-2 away at x = 2.4, and the mass beyond 2.5 is not divided out.
    """
    odd = [mpf(2 * n + 1) for n in range(7)]
    terms = ((-1) ** n * k * mp.exp(-(k**2) / (8 * x)) for n, k in enumerate(odd))
    return mp.log(sum(terms)) - mp.log(2 * mp.pi * x**3) / 2


# Directions


def von_mises(x, loc, concentration):
    return concentration * mp.cos(x - loc) - mp.log(2 * mp.pi * mp.besseli(0, concentration))


def sine_skewed_von_mises(x, loc, concentration, skewness):
    parts = zip(x, loc, concentration, strict=True)
    skew = sum(s * mp.sin(v - m) for s, v, m in zip(skewness, x, loc, strict=True))
    return sum(von_mises(*each) for each in parts) + mp.log(1 + skew)


@lru_cache
def bessel(k: Number) -> Vector:
    """I₀(k), I₁(k), … to orders that vanish beside I₀, by the backward recurrence."""
    order = int(60 + 25 * mp.sqrt(k))
    found = [mpf(0), mpf(1)]
    for m in range(order, 0, -1):
        found.append(found[-2] + 2 * m / k * found[-1])
    scale = mp.besseli(0, k) / found[-1]
    return [scale * value for value in reversed(found)]


def sine_bivariate_von_mises(
    x, phi_loc, psi_loc, phi_concentration, psi_concentration, correlation
):
    a, b = x[0] - phi_loc, x[1] - psi_loc
    kernel = phi_concentration * mp.cos(a) + psi_concentration * mp.cos(b)
    ratio = correlation**2 / (4 * phi_concentration * psi_concentration)
    total, power = mpf(0), mpf(1)
    for m, (i, j) in enumerate(
        zip(bessel(phi_concentration), bessel(psi_concentration), strict=False)
    ):
        total += power * i * j
        power *= ratio * (2 * m + 1) * (2 * m + 2) / (m + 1) ** 2  # ratio^m binomial(2m, m)
    return kernel + correlation * mp.sin(a) * mp.sin(b) - mp.log(4 * mp.pi**2 * total)


def sine_bivariate_von_mises_weighted(x, weighted_correlation, **params):
    product = params["phi_concentration"] * params["psi_concentration"]
    return sine_bivariate_von_mises(
        x, correlation=weighted_correlation * mp.sqrt(product), **params
    )


def projected_normal(x, concentration):
    """∫ rᵈ⁻¹ N(r x | c, I) dr in closed form in two and three dimensions."""
    t = sum(a * b for a, b in zip(x, concentration, strict=True))
    tail = mp.sqrt(2 * mp.pi) * mp.exp(t**2 / 2) * mp.ncdf(t)
    integral = 1 + t * tail if len(x) == 2 else t + (1 + t**2) * tail
    norm = sum(c**2 for c in concentration)
    return mp.log(integral) - norm / 2 - len(x) * mp.log(2 * mp.pi) / 2


def constant(x, log_density):
    """A point mass, a unit or an improper uniform distribution: what it was given."""
    return log_density
