"""Families of vectors and matrices."""

from __future__ import annotations

import numpy as np

from equivalence_tests.distributions import matrix_log_densities as exact
from equivalence_tests.distributions.case import (
    DIM,
    DistributionCase,
    correlation,
    covariance,
    positive,
    real,
    tril,
)

LOC = real(2, DIM)
ILL = "condition number 1e8"


def correlation_cholesky(rng, p):
    return np.linalg.cholesky(correlation(rng, p))


VECTORS = [
    DistributionCase(
        "MultivariateNormal",
        {"loc": LOC, "covariance_matrix": covariance()},
        LOC,
        exact.multivariate_normal,
        {"covariance_matrix": covariance(1e8)},
        ILL,
    ),
    DistributionCase(
        "MultivariateNormal",
        {"loc": LOC, "precision_matrix": covariance()},
        LOC,
        exact.multivariate_normal_precision,
        {"precision_matrix": covariance(1e8)},
        ILL,
    ),
    DistributionCase(
        "MultivariateNormal",
        {"loc": LOC, "scale_tril": tril()},
        LOC,
        exact.multivariate_normal_tril,
        {"scale_tril": tril(1e8)},
        ILL + " of the covariance",
    ),
    DistributionCase(
        "LowRankMultivariateNormal",
        {"loc": LOC, "cov_factor": real(1, DIM, 2), "cov_diag": positive(0.2, 2.0, DIM)},
        LOC,
        exact.low_rank_multivariate_normal,
        {"cov_diag": positive(1e-6, 1e-2, DIM)},
        "cov_diag 1e-6 to 1e-2",
    ),
    DistributionCase(
        "MultivariateStudentT",
        {"df": positive(0.5, 30.0), "loc": LOC, "scale_tril": tril()},
        LOC,
        exact.multivariate_student_t,
        {"df": positive(1e4, 1e7)},
        "df 1e4 to 1e7",
    ),
]

MATRICES = [
    DistributionCase(
        "LKJ",
        {"concentration": positive(0.5, 8.0)},
        correlation,
        exact.lkj,
        {"concentration": positive(1e3, 1e6)},
        "concentration 1e3 to 1e6",
        build=lambda d, p: d.LKJ(DIM, p["concentration"]),
    ),
    DistributionCase(
        "LKJCholesky",
        {"concentration": positive(0.5, 8.0)},
        correlation_cholesky,
        exact.lkj_cholesky,
        {"concentration": positive(1e3, 1e6)},
        "concentration 1e3 to 1e6",
        build=lambda d, p: d.LKJCholesky(DIM, p["concentration"]),
    ),
    DistributionCase(
        "Wishart",
        {"df": positive(3.0, 30.0), "covariance_matrix": covariance()},
        covariance(),
        exact.wishart,
        {"covariance_matrix": covariance(1e8)},
        ILL,
        second=lambda d, p: d.Wishart(p["df"], scale_matrix=p["covariance_matrix"]),
    ),
    DistributionCase(
        "Wishart",
        {"df": positive(3.0, 30.0), "precision_matrix": covariance()},
        covariance(),
        exact.wishart_precision,
        {"precision_matrix": covariance(1e8)},
        ILL,
        second=lambda d, p: d.Wishart(p["df"], rate_matrix=p["precision_matrix"]),
    ),
    DistributionCase(
        "Wishart",
        {"df": positive(3.0, 30.0), "scale_tril": tril()},
        covariance(),
        exact.wishart_tril,
        {"scale_tril": tril(1e8)},
        ILL + " of the covariance",
        second=lambda d, p: d.Wishart(p["df"], scale_tril=p["scale_tril"]),
    ),
]
