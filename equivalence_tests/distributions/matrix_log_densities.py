"""Log densities of vectors and matrices in mpmath, like `log_densities`; matrices are mpmath's."""

from __future__ import annotations

from typing import Any

from mpmath import mp, mpf

from equivalence_tests.distributions.log_densities import Number, Vector

Matrix = Any


def quadratic(matrix: Matrix, x: Vector, loc: Vector) -> Number:
    """(x - loc)ᵀ matrix⁻¹ (x - loc)."""
    z = mp.matrix([a - b for a, b in zip(x, loc, strict=True)])
    return (z.T * mp.lu_solve(matrix, z))[0]


def symmetric(matrix: Matrix) -> Matrix:
    """So that the derivative in one entry is the symmetric one, as both frameworks give it."""
    return (matrix + matrix.T) / 2


def square(scale_tril: Matrix) -> Matrix:
    """L Lᵀ of the lower triangle, so that nothing depends on what is above it."""
    k = scale_tril.rows
    lower = mp.matrix(
        [[scale_tril[i, j] if j <= i else mpf(0) for j in range(k)] for i in range(k)]
    )
    return lower * lower.T


def dirichlet(x, concentration):
    kernel = sum((a - 1) * mp.log(v) for a, v in zip(concentration, x, strict=True))
    normaliser = sum(mp.loggamma(a) for a in concentration) - mp.loggamma(sum(concentration))
    return kernel - normaliser


def multivariate_normal(x, loc, covariance_matrix):
    covariance = symmetric(covariance_matrix)
    log_det = mp.log(mp.det(covariance))
    return -(quadratic(covariance, x, loc) + log_det + len(x) * mp.log(2 * mp.pi)) / 2


def multivariate_normal_precision(x, loc, precision_matrix):
    return multivariate_normal(x, loc, mp.inverse(symmetric(precision_matrix)))


def multivariate_normal_tril(x, loc, scale_tril):
    return multivariate_normal(x, loc, square(scale_tril))


def low_rank_multivariate_normal(x, loc, cov_factor, cov_diag):
    return multivariate_normal(x, loc, cov_factor * cov_factor.T + mp.diag(cov_diag))


def multivariate_student_t(x, df, loc, scale_tril):
    k, scale = len(x), square(scale_tril)
    normaliser = mp.loggamma((df + k) / 2) - mp.loggamma(df / 2)
    normaliser -= (k * mp.log(df * mp.pi) + mp.log(mp.det(scale))) / 2
    return normaliser - (df + k) / 2 * mp.log(1 + quadratic(scale, x, loc) / df)


def lkj_cholesky(x, concentration):
    """Lewandowski, Kurowicka and Joe (2009), equation 16, with the change to Cholesky factors."""
    k = x.rows
    powers = ((k - i - 1 + 2 * (concentration - 1)) * mp.log(x[i, i]) for i in range(1, k))
    logs = mpf(0)
    for i in range(1, k):
        a = concentration + mpf(k - 1 - i) / 2
        logs += i * mp.log(mp.pi) / 2 + mp.loggamma(a) - mp.loggamma(a + mpf(i) / 2)
    return sum(powers) - logs


def lkj(x, concentration):
    """The same constants as `lkj_cholesky`, and det(x)^(concentration - 1)."""
    constant = lkj_cholesky(mp.eye(x.rows), concentration)
    return (concentration - 1) * mp.log(mp.det(symmetric(x))) + constant


def wishart(x, df, covariance_matrix):
    k, scale = x.rows, symmetric(covariance_matrix)
    product = mp.inverse(scale) * x
    trace = sum(product[i, i] for i in range(k))
    log_gamma = mpf(k * (k - 1)) / 4 * mp.log(mp.pi)
    log_gamma += sum(mp.loggamma((df - i) / 2) for i in range(k))
    kernel = (df - k - 1) / 2 * mp.log(mp.det(x)) - trace / 2
    return kernel - df * k / 2 * mp.log(2) - df / 2 * mp.log(mp.det(scale)) - log_gamma


def wishart_precision(x, df, precision_matrix):
    return wishart(x, df, mp.inverse(symmetric(precision_matrix)))


def wishart_tril(x, df, scale_tril):
    return wishart(x, df, square(scale_tril))
