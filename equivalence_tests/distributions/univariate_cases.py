"""Continuous families on the real line, the half line and intervals; wrappers of univariate families."""

from __future__ import annotations

import numpy as np

from equivalence_tests.distributions import log_densities as exact
from equivalence_tests.distributions.case import (
    BATCHES,
    SIZE,
    DistributionCase,
    Draw,
    about,
    between,
    integers,
    near_zero_or_one,
    positive,
    real,
)

LOC_SCALE: dict[str, Draw] = {"loc": real(), "scale": positive(0.2, 5.0)}
SCALES: dict[str, Draw] = {"scale": positive(1e-6, 1e6)}
WIDE = "scales 1e-6 to 1e6"
HUGE = positive(1e4, 1e7)

REAL_LINE = [
    DistributionCase("Normal", LOC_SCALE, real(3), exact.normal, SCALES, WIDE),
    DistributionCase("Laplace", LOC_SCALE, real(3), exact.laplace, SCALES, WIDE),
    DistributionCase("SoftLaplace", LOC_SCALE, real(3), exact.soft_laplace, SCALES, WIDE),
    DistributionCase("Cauchy", LOC_SCALE, real(3), exact.cauchy, SCALES, WIDE),
    DistributionCase("Logistic", LOC_SCALE, real(3), exact.logistic, SCALES, WIDE),
    DistributionCase(
        "Gumbel",
        LOC_SCALE,
        real(3),
        exact.gumbel,
        {"scale": positive(0.05, 1e6)},
        "scales 0.05 to 1e6",
    ),
    DistributionCase(
        "AsymmetricLaplace",
        {**LOC_SCALE, "asymmetry": positive(0.2, 5.0)},
        real(3),
        exact.asymmetric_laplace,
        {"asymmetry": positive(1e-4, 1e4)},
        "asymmetry 1e-4 to 1e4",
    ),
    DistributionCase(
        "AsymmetricLaplace",
        {**LOC_SCALE, "quantile": between(0.05, 0.95)},
        real(3),
        exact.asymmetric_laplace_quantile,
        {"quantile": near_zero_or_one(1e-6)},
        "quantiles 1e-6 to 1 - 1e-15",
        build=lambda d, p: d.AsymmetricLaplace(
            p["loc"],
            p["scale"] * (p["quantile"] * (1 - p["quantile"])) ** -0.5,
            (p["quantile"] / (1 - p["quantile"])) ** 0.5,
        ),
        second=lambda d, p: d.AsymmetricLaplaceQuantile(**p),
    ),
    DistributionCase(
        "StudentT",
        {"df": positive(0.5, 30.0), **LOC_SCALE},
        real(3),
        exact.student_t,
        {"df": HUGE},
        "df 1e4 to 1e7",
    ),
    DistributionCase(
        "Uniform",
        {"low": real(), "high": lambda rng, p: p["low"] + positive()(rng, p)},
        lambda rng, p: p["low"] + rng.uniform(0.1, 0.9, SIZE) * (p["high"] - p["low"]),
        exact.uniform,
        {"high": lambda rng, p: p["low"] + positive(1e-9, 1e9)(rng, p)},
        "widths 1e-9 to 1e9",
    ),
    DistributionCase(
        "MixtureSameFamily",
        {"logits": real(1, 3), "loc": real(2, 3), "scale": positive(0.2, 5.0, 3)},
        real(3),
        exact.mixture_of_normals,
        {"logits": real(30, 3)},
        "logits ±60",
        build=lambda d, p: d.MixtureSameFamily(
            d.Categorical(logits=p["logits"]), d.Normal(p["loc"], p["scale"])
        ),
        note=" (of normals)",
    ),
    DistributionCase(
        "TransformedDistribution",
        LOC_SCALE,
        between(),
        exact.logit_normal,
        {"value": near_zero_or_one(1e-30)},
        "x 1e-30 to 1 - 1e-15",
        build=lambda d, p: d.TransformedDistribution(
            d.Normal(p["loc"], p["scale"]), [d.transforms.SigmoidTransform()]
        ),
        note=" (logit-normal)",
    ),
    DistributionCase(
        "ExpandedDistribution",
        LOC_SCALE,
        real(3, 3),
        exact.expanded_normal,
        SCALES,
        WIDE,
        build=lambda d, p: d.ExpandedDistribution(
            d.Normal(p["loc"][:, None], p["scale"][:, None]), (len(p["loc"]), 3)
        ).to_event(1),
        note=" (normal)",
    ),
    DistributionCase(
        "Independent",
        {"loc": real(2, 3), "scale": positive(0.2, 5.0, 3)},
        real(3, 3),
        exact.independent_normal,
        {"scale": positive(1e-6, 1e6, 3)},
        WIDE,
        build=lambda d, p: d.Independent(d.Normal(p["loc"], p["scale"]), 1),
        note=" (normal)",
    ),
    DistributionCase(
        "MaskedDistribution",
        {**LOC_SCALE, "mask": lambda rng, p: integers(0, 1)(rng, p).astype(bool)},
        real(3),
        exact.masked_normal,
        SCALES,
        WIDE,
        fixed=("mask",),
        build=lambda d, p: d.MaskedDistribution(d.Normal(p["loc"], p["scale"]), p["mask"]),
        note=" (normal)",
    ),
    DistributionCase(
        "Delta",
        {"log_density": real()},
        lambda rng, p: np.zeros(SIZE),
        exact.constant,
        {"log_density": real(1e8)},
        "log densities ±1e8",
        build=lambda d, p: d.Delta(0.0 * p["log_density"], p["log_density"]),
    ),
    DistributionCase(
        "Unit",
        {"log_factor": real()},
        lambda rng, p: np.zeros((SIZE, 0)),
        lambda x, log_factor: exact.constant(x, log_factor),
        {"log_factor": real(1e8)},
        "factors ±1e8",
    ),
    DistributionCase(
        "ImproperUniform",
        {},
        real(3),
        lambda x: exact.constant(x, 0),
        {"value": real(1e8)},
        "x ±1e8",
        build=lambda d, p: d.ImproperUniform(d.constraints.real, (BATCHES * SIZE,), ()),
    ),
]

POSITIVE = [
    DistributionCase(
        "LogNormal",
        LOC_SCALE,
        positive(),
        exact.log_normal,
        {**SCALES, "value": positive(1e-30, 1e30)},
        WIDE + ", x 1e-30 to 1e30",
    ),
    DistributionCase(
        "HalfNormal", {"scale": positive()}, positive(), exact.half_normal, SCALES, WIDE
    ),
    DistributionCase(
        "HalfCauchy", {"scale": positive()}, positive(), exact.half_cauchy, SCALES, WIDE
    ),
    DistributionCase(
        "FoldedDistribution",
        LOC_SCALE,
        positive(),
        exact.folded_normal,
        {"value": positive(1e4, 1e6)},
        "x 1e4 to 1e6",
        build=lambda d, p: d.FoldedDistribution(d.Normal(p["loc"], p["scale"])),
        note=" (normal)",
    ),
    DistributionCase(
        "Exponential",
        {"rate": positive()},
        positive(),
        exact.exponential,
        {"rate": positive(1e-6, 1e6)},
        "rates 1e-6 to 1e6",
    ),
    DistributionCase(
        "Gamma",
        {"concentration": positive(), "rate": positive()},
        positive(),
        exact.gamma,
        {
            "concentration": HUGE,
            "value": about(
                lambda p: p["concentration"] / p["rate"],
                lambda p: p["concentration"] ** 0.5 / p["rate"],
            ),
        },
        "concentration 1e4 to 1e7",
    ),
    DistributionCase(
        "InverseGamma",
        {"concentration": positive(), "rate": positive()},
        positive(),
        exact.inverse_gamma,
        {
            "concentration": HUGE,
            "value": about(
                lambda p: p["rate"] / p["concentration"],
                lambda p: p["rate"] / p["concentration"] ** 1.5,
            ),
        },
        "concentration 1e4 to 1e7",
    ),
    DistributionCase(
        "Chi2",
        {"df": positive(0.5, 30.0)},
        positive(),
        exact.chi2,
        {"df": HUGE, "value": about(lambda p: p["df"], lambda p: (2 * p["df"]) ** 0.5)},
        "df 1e4 to 1e7",
    ),
    DistributionCase(
        "Pareto",
        {"scale": positive(0.1, 3.0), "alpha": positive()},
        lambda rng, p: p["scale"] * positive(1.01, 50.0)(rng, p),
        exact.pareto,
        {"alpha": positive(1e-4, 1e4)},
        "alpha 1e-4 to 1e4",
    ),
    DistributionCase(
        "Weibull",
        {"scale": positive(0.5, 2.0), "concentration": positive(0.3, 5.0)},
        positive(0.5, 2.0),
        exact.weibull,
        {"concentration": positive(1e-4, 100.0)},
        "concentration 1e-4 to 100",
    ),
]
