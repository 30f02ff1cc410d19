"""Continuous families on intervals, the simplex, angles and directions."""

from __future__ import annotations

import numpy as np

from equivalence_tests.distributions import log_densities as exact
from equivalence_tests.distributions import matrix_log_densities as matrix_exact
from equivalence_tests.distributions.case import (
    BATCHES,
    SIZE,
    DistributionCase,
    Draw,
    angle,
    between,
    direction,
    near_zero_or_one,
    positive,
    real,
    simplex,
)

HUGE = positive(1e4, 1e7)
CONCENTRATIONS: dict[str, Draw] = {"concentration1": positive(), "concentration0": positive()}


def beta_draw(rng, p):
    return rng.beta(p["concentration1"], p["concentration0"])


def small_or_large(rng, p):
    return np.where(
        rng.random(SIZE) < 0.5, positive(1e-18, 1e-3)(rng, p), positive(50.0, 1e4)(rng, p)
    )


HUGE_BETA: dict[str, Draw] = {"concentration1": HUGE, "concentration0": HUGE, "value": beta_draw}

INTERVALS = [
    DistributionCase(
        "Beta", CONCENTRATIONS, between(), exact.beta, HUGE_BETA, "concentrations 1e4 to 1e7"
    ),
    DistributionCase(
        "Beta",
        {"mean": between(), "concentration": positive()},
        between(),
        exact.beta_proportion,
        {
            "concentration": HUGE,
            "value": lambda rng, p: rng.beta(
                p["mean"] * p["concentration"], (1 - p["mean"]) * p["concentration"]
            ),
        },
        "concentration 1e4 to 1e7",
        build=lambda d, p: d.Beta(
            p["mean"] * p["concentration"], (1 - p["mean"]) * p["concentration"]
        ),
        second=lambda d, p: d.BetaProportion(**p),
    ),
    DistributionCase(
        "AffineBeta",
        {**CONCENTRATIONS, "loc": real(), "scale": positive()},
        lambda rng, p: p["loc"] + p["scale"] * rng.uniform(0.02, 0.98, SIZE),
        exact.affine_beta,
        {
            "concentration1": positive(1e-3, 0.1),
            "concentration0": positive(1e-3, 0.1),
        },
        "concentrations 1e-3 to 0.1",
        second=lambda d, p: d.TransformedDistribution(
            d.Beta(p["concentration1"], p["concentration0"]),
            d.transforms.AffineTransform(p["loc"], p["scale"], domain=d.constraints.unit_interval),
        ),
    ),
    DistributionCase(
        "Kumaraswamy",
        CONCENTRATIONS,
        between(),
        exact.kumaraswamy,
        {"concentration1": small_or_large},
        "concentration1 1e-18 to 1e-3, and 50 to 1e4",
    ),
    DistributionCase(
        "TransformedDistribution",
        {"low": positive(0.1, 1.0), "high": positive(2.0, 50.0)},
        positive(1.01, 1.99),
        exact.log_uniform,
        {"low": positive(1e-30, 1e-10), "high": positive(1e10, 1e30)},
        "ends 1e-30 and 1e30",
        build=lambda d, p: d.TransformedDistribution(
            d.Uniform(p["low"].log(), p["high"].log()), [d.transforms.ExpTransform()]
        ),
        second=lambda d, p: d.LogUniform(**p),
        note=" (log-uniform)",
    ),
    DistributionCase(
        "RelaxedBernoulli",
        {"temperature": positive(0.2, 2.0), "logits": real()},
        between(),
        exact.relaxed_bernoulli,
        {"logits": real(10), "value": near_zero_or_one(1e-30)},
        "logits ±20, x 1e-30 to 1 - 1e-15",
    ),
    DistributionCase(
        "RelaxedBernoulli",
        {"temperature": positive(0.2, 2.0), "probs": between()},
        between(),
        exact.relaxed_bernoulli_probs,
        {"probs": near_zero_or_one(1e-20), "value": near_zero_or_one(1e-30)},
        "probs 1e-20 and x 1e-30 to 1 - 1e-15",
    ),
    DistributionCase(
        "TruncatedPolyaGamma",
        {},
        between(0.05, 2.4),
        exact.truncated_polya_gamma,
        {"value": positive(1e-4, 0.05)},
        "x 1e-4 to 0.05",
        second=lambda d, p: d.TruncatedPolyaGamma((BATCHES * SIZE,)),
        build=lambda d, p: d.TruncatedPolyaGamma(d.Normal(0.0, 1.0).mean.new_zeros(())),
    ),
    DistributionCase(
        "Dirichlet",
        {"concentration": positive(0.2, 8.0, 3)},
        simplex(2.0),
        matrix_exact.dirichlet,
        {
            "concentration": positive(1e4, 1e7, 3),
            "value": lambda rng, p: p["concentration"] / p["concentration"].sum(-1, keepdims=True),
        },
        "concentrations 1e4 to 1e7, x their mean",
    ),
]


TORUS: dict[str, Draw] = {
    "phi_loc": angle(),
    "psi_loc": angle(),
    "phi_concentration": positive(0.5, 8.0),
    "psi_concentration": positive(0.5, 8.0),
}
SHARP: dict[str, Draw] = {
    "phi_concentration": positive(50.0, 500.0),
    "psi_concentration": positive(50.0, 500.0),
}


def correlation(largest: float) -> Draw:
    """Correlations whose weighted correlation is at most `largest`."""

    def draw(rng, p):
        scale = (p["phi_concentration"] * p["psi_concentration"]) ** 0.5
        return scale * between(-largest, largest)(rng, p)

    return draw


ANGLES = [
    DistributionCase(
        "VonMises",
        {"loc": angle(), "concentration": positive(0.05, 30.0)},
        angle(),
        exact.von_mises,
        {"concentration": positive(1e2, 1e4)},
        "concentration 1e2 to 1e4",
    ),
    DistributionCase(
        "SineSkewed",
        {
            "loc": angle(2),
            "concentration": positive(0.05, 30.0, 2),
            "skewness": between(-0.45, 0.45, 2),
        },
        angle(2),
        exact.sine_skewed_von_mises,
        {"concentration": positive(1e2, 1e4, 2)},
        "concentration 1e2 to 1e4",
        build=lambda d, p: d.SineSkewed(
            d.VonMises(p["loc"], p["concentration"]).to_event(1), p["skewness"]
        ),
        note=" (Von Mises)",
    ),
    DistributionCase(
        "SineBivariateVonMises",
        {**TORUS, "correlation": correlation(0.9)},
        angle(2),
        exact.sine_bivariate_von_mises,
        {**SHARP, "correlation": correlation(0.999)},
        "concentrations 50 to 500, weighted correlations to ±0.999",
    ),
    DistributionCase(
        "SineBivariateVonMises",
        {**TORUS, "weighted_correlation": between(-0.9, 0.9)},
        angle(2),
        exact.sine_bivariate_von_mises_weighted,
        {**SHARP, "weighted_correlation": between(-0.999, 0.999)},
        "concentrations 50 to 500, weighted correlations to ±0.999",
    ),
    *(
        DistributionCase(
            "ProjectedNormal",
            {"concentration": real(0.7, dim)},
            direction(dim),
            exact.projected_normal,
            {"concentration": real(15, dim)},
            "concentrations ±30",
            note=f" (dimension {dim})",
        )
        for dim in (2, 3)
    ),
]
