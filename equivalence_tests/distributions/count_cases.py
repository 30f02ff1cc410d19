"""Families of counts and categories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from equivalence_tests.distributions import log_probabilities as exact
from equivalence_tests.distributions.case import (
    DIM,
    SIZE,
    DistributionCase,
    Draw,
    between,
    counts,
    either_sign,
    integers,
    near_zero_or_one,
    positive,
    real,
    simplex,
    small_probability,
    up_to,
)
from equivalence_tests.distributions.log_densities import sigmoid, softmax

SMALL = "probs 1e-20 to 1 - 1e-15"
FAR = "logits ±60"


def by_logits(density: Callable[..., Any], link: Callable[[Any], Any]) -> Callable[..., Any]:
    """The density of probs, as one of logits."""
    return lambda x, logits, **params: density(x, probs=link(logits), **params)


def one_hot(rng, p):
    return np.eye(DIM, dtype=int)[rng.integers(0, DIM, SIZE)]


def both(
    family: str, others: dict[str, Draw], value: Draw, density: Callable[..., Any], **options: Any
) -> list[DistributionCase]:
    """A family of one probability under `probs` and under `logits`."""
    probs: dict[str, Draw] = {**others, "probs": between()}
    logits: dict[str, Draw] = {**others, "logits": real()}
    small, far = {"probs": near_zero_or_one(1e-20)}, {"logits": real(30)}
    link = by_logits(density, sigmoid)
    return [
        DistributionCase(family, probs, value, density, small, SMALL, **options),
        DistributionCase(family, logits, value, link, far, FAR, **options),
    ]


def both_vectors(
    family: str, others: dict[str, Draw], value: Draw, density: Callable[..., Any], **options: Any
) -> list[DistributionCase]:
    """A family of a probability vector under `probs` and under `logits`."""
    probs: dict[str, Draw] = {**others, "probs": simplex(2.0)}
    logits: dict[str, Draw] = {**others, "logits": real(2, DIM)}
    small, far = {"probs": small_probability(1e-20)}, {"logits": real(30, DIM)}
    link = by_logits(density, softmax)
    words = "one of the probs down to 1e-20"
    return [
        DistributionCase(
            family, probs, value, density, small, words, simplex=("probs",), **options
        ),
        DistributionCase(family, logits, value, link, far, FAR, **options),
    ]


CATEGORIES = [
    *both("Bernoulli", {}, integers(0, 1), exact.bernoulli),
    *both_vectors("Categorical", {}, integers(0, DIM - 1), exact.categorical),
    *both_vectors(
        "OneHotCategorical",
        {},
        one_hot,
        exact.multinomial,
        second=lambda d, p: d.Multinomial(1, **p),
    ),
    *both_vectors(
        "Multinomial",
        {},
        counts(20),
        exact.multinomial,
        build=lambda d, p: d.Multinomial(20, **p),
    ),
    DistributionCase(
        "OrderedLogistic",
        {"predictor": real(), "cutpoints": lambda rng, p: np.sort(real(2, 3)(rng, p))},
        integers(0, 3),
        exact.ordered_logistic,
        {"predictor": real(30)},
        "predictors ±60",
    ),
    DistributionCase(
        "DirichletMultinomial",
        {"concentration": positive(0.2, 8.0, DIM)},
        counts(20),
        exact.dirichlet_multinomial,
        {"concentration": positive(1e4, 1e7, DIM)},
        "concentrations 1e4 to 1e7",
        build=lambda d, p: d.DirichletMultinomial(p["concentration"], 20),
    ),
]

TOTAL: dict[str, Draw] = {"total_count": positive(0.5, 20.0)}
MEAN: dict[str, Draw] = {"mean": positive(0.5, 20.0), "concentration": positive()}
RATE: dict[str, Draw] = {"rate": positive(0.5, 20.0)}


def nb2(d, p):
    """Pyro's negative binomial by its mean, as the documentation recommends."""
    return d.NegativeBinomial(p["concentration"], logits=(p["mean"] / p["concentration"]).log())


COUNTS = [
    *both(
        "Binomial",
        {"total_count": integers(1, 30)},
        up_to("total_count"),
        exact.binomial,
        fixed=("total_count",),
    ),
    *both("Geometric", {}, integers(0, 20), exact.geometric),
    DistributionCase(
        "Poisson",
        RATE,
        integers(0, 30),
        exact.poisson,
        {"rate": positive(1e4, 1e7), "value": lambda rng, p: rng.poisson(p["rate"])},
        "rates 1e4 to 1e7",
    ),
    *both("NegativeBinomial", TOTAL, integers(0, 30), exact.negative_binomial),
    DistributionCase(
        "NegativeBinomial",
        MEAN,
        integers(0, 30),
        exact.negative_binomial_mean,
        {"mean": positive(1e4, 1e7), "value": lambda rng, p: rng.poisson(p["mean"])},
        "means 1e4 to 1e7",
        build=nb2,
        second=lambda d, p: d.NegativeBinomial2(**p),
    ),
    DistributionCase(
        "GammaPoisson",
        {"concentration": positive(), "rate": positive(0.1, 5.0)},
        integers(0, 30),
        exact.gamma_poisson,
        {
            "concentration": positive(1e4, 1e7),
            "rate": lambda rng, p: p["concentration"] / rng.uniform(0.5, 30.0, SIZE),
        },
        "concentration 1e4 to 1e7, means 0.5 to 30",
    ),
    DistributionCase(
        "BetaBinomial",
        {
            "concentration1": positive(),
            "concentration0": positive(),
            "total_count": integers(1, 30),
        },
        up_to("total_count"),
        exact.beta_binomial,
        {"concentration1": positive(1e4, 1e7), "concentration0": positive(1e4, 1e7)},
        "concentrations 1e4 to 1e7",
        fixed=("total_count",),
    ),
]


def zero_inflated(
    family: str,
    note: str,
    params: dict[str, Draw],
    density: Callable[..., Any],
    build: Any,
    second: Any,
) -> list[DistributionCase]:
    """A family under `gate` and under `gate_logits`; the builders take the base's parameters, and these."""

    def split(make: Any) -> Any:
        return lambda d, p: make(
            d,
            {k: v for k, v in p.items() if not k.startswith("gate")},
            {k: v for k, v in p.items() if k.startswith("gate")},
        )

    def by_gate_logits(x: Any, gate_logits: Any, **rest: Any) -> Any:
        return density(x, gate=sigmoid(gate_logits), **rest)

    options = {"build": split(build), "second": split(second), "note": note}
    value = integers(0, 8)
    gate, logits = {"gate": between(), **params}, {"gate_logits": real(), **params}
    small, far = {"gate": near_zero_or_one(1e-20)}, {"gate_logits": either_sign(20.1, 21.5)}
    return [
        DistributionCase(
            family, gate, value, density, small, "gates 1e-20 to 1 - 1e-15", **options
        ),
        DistributionCase(
            family, logits, value, by_gate_logits, far, "gate logits ±20 to ±22", **options
        ),
    ]


def any_zero_inflated(name: str) -> Any:
    """The general wrapper around the family of that name, in either library."""
    return lambda d, base, gate: d.ZeroInflatedDistribution(getattr(d, name)(**base), **gate)


ZERO_INFLATED = [
    *zero_inflated(
        "ZeroInflatedPoisson",
        "",
        RATE,
        exact.zero_inflated_poisson,
        lambda d, base, gate: d.ZeroInflatedPoisson(**base, **gate),
        lambda d, base, gate: (
            d.ZeroInflatedPoisson(**base, **gate)
            if "gate" in gate
            else any_zero_inflated("Poisson")(d, base, gate)
        ),
    ),
    *zero_inflated(
        "ZeroInflatedNegativeBinomial",
        "",
        {**TOTAL, "probs": between()},
        exact.zero_inflated_negative_binomial,
        lambda d, base, gate: d.ZeroInflatedNegativeBinomial(**base, **gate),
        any_zero_inflated("NegativeBinomial"),
    ),
    *zero_inflated(
        "ZeroInflatedDistribution",
        " (negative binomial)",
        MEAN,
        exact.zero_inflated_negative_binomial_mean,
        lambda d, base, gate: d.ZeroInflatedDistribution(nb2(d, base), **gate),
        lambda d, base, gate: d.ZeroInflatedNegativeBinomial2(**base, **gate),
    ),
    *zero_inflated(
        "ZeroInflatedDistribution",
        " (Poisson)",
        RATE,
        exact.zero_inflated_poisson,
        any_zero_inflated("Poisson"),
        any_zero_inflated("Poisson"),
    ),
]
