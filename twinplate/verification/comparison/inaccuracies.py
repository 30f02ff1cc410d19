"""Where a framework's own log density is known to be wrong in double precision.

Measured with Pyro 1.9.2 on torch 2.13 and NumPyro 0.22 on JAX 0.10.2, judged by mpmath;
`docs/distributions.md` has the figures. It is nobody's mistake of porting, so it is reported as a note.
"""

from __future__ import annotations

from dataclasses import dataclass

EXACT = 1e-12  # what is left at ordinary settings where only extreme ones are inaccurate


@dataclass(frozen=True)
class Inaccuracy:
    """One family of one framework.

    framework: "pyro" or "numpyro".  family: the class, without independent, masked, expanded.
    condition: where.  reason: why.
    log_density, gradient: bounds at ordinary settings on the error of the log density and of its
        gradient in the distribution's parameters, relative to max(1, |value|). They hold at every
        setting but for those that the condition calls unbounded.
    """

    framework: str
    family: str
    condition: str
    log_density: float
    gradient: float
    reason: str


# (framework, families, condition, log density, gradient, reason)
_TABLE: list[tuple[str, tuple[str, ...], str, float, float, str]] = [
    (
        "numpyro",
        ("GammaPoisson", "NegativeBinomial2"),
        "where the larger argument of a beta function is 8 or more",
        3e-6,
        3e-6,
        "JAX's betaln: its algdiv takes x = h / (1 + h) for 1 / (1 + h)",
    ),
    (
        "numpyro",
        ("BetaBinomial",),
        "where the larger argument of a beta function is 8 or more; unbounded at concentrations "
        "above 1e4",
        3e-6,
        3e-6,
        "JAX's betaln: its algdiv takes x = h / (1 + h) for 1 / (1 + h); lgamma cancels",
    ),
    (
        "numpyro",
        ("NegativeBinomialProbs",),
        "where the larger argument of a beta function is 8 or more; unbounded at probs near 1",
        3e-6,
        3e-6,
        "JAX's betaln: its algdiv takes x = h / (1 + h) for 1 / (1 + h); near probs = 1 the rate "
        "1 / probs - 1 loses its digits",
    ),
    (
        "numpyro",
        ("ZeroInflatedLogits", "ZeroInflatedProbs"),
        "around a negative binomial by probs or mean, or a gamma-Poisson",
        3e-6,
        3e-6,
        "JAX's betaln: its algdiv takes x = h / (1 + h) for 1 / (1 + h)",
    ),
    (
        "pyro",
        ("VonMises", "SineSkewed"),
        "everywhere (a sine-skewed distribution has it from its base)",
        2e-6,
        2e-6,
        "the Bessel functions are polynomials made for single precision",
    ),
    (
        "pyro",
        ("TransformedDistribution",),
        "with a sigmoid at unconstrained values beyond ±20, x below 2e-9 for instance",
        5e-9,
        5e-9,
        "torch's softplus is linear above 20",
    ),
    (
        "pyro",
        ("ZeroInflatedDistribution", "ZeroInflatedNegativeBinomial", "ZeroInflatedPoisson"),
        "by gate_logits, beyond ±20",
        5e-9,
        5e-9,
        "torch's softplus is linear above 20",
    ),
    (
        "pyro",
        ("Geometric",),
        "by logits, beyond ±20; by probs unbounded within 2e-16 of 0 or 1",
        5e-9,
        5e-9,
        "torch's softplus is linear above 20; probs are clamped, with gradient zero",
    ),
    (
        "pyro",
        ("RelaxedBernoulli",),
        "at x below 2e-9, or as near to 1; unbounded by probs within 2e-16 of 0 or 1",
        5e-9,
        5e-9,
        "torch's softplus is linear above 20; probs are clamped, with gradient zero",
    ),
    (
        "pyro",
        ("Bernoulli", "Binomial", "Categorical", "Multinomial", "OneHotCategorical"),
        "by probs, unbounded within 2e-16 of 0 or 1",
        EXACT,
        EXACT,
        "probs are clamped, with gradient zero",
    ),
    (
        "pyro",
        ("NegativeBinomial",),
        "unbounded by probs within 2e-16 of 0 or 1, and at counts or total counts above 1e4",
        EXACT,
        EXACT,
        "probs are clamped, with gradient zero; lgamma cancels",
    ),
    (
        "pyro",
        ("OrderedLogistic",),
        "unbounded where a category's probability is below 2e-16",
        EXACT,
        EXACT,
        "probabilities are clamped, with gradient zero",
    ),
    (
        "numpyro",
        ("OrderedLogistic",),
        "unbounded (-inf) where a category's probability is below 2e-16",
        EXACT,
        EXACT,
        "probabilities are differences of sigmoids, which underflow",
    ),
    (
        "numpyro",
        ("AsymmetricLaplaceQuantile",),
        "unbounded at quantiles near 1",
        EXACT,
        EXACT,
        "1 / quantile - 1 loses its digits",
    ),
    *(
        (
            framework,
            ("Kumaraswamy",),
            "unbounded at concentration1 below 1e-3",
            EXACT,
            EXACT,
            "1 - x**concentration1 loses its digits, or is zero",
        )
        for framework in ("pyro", "numpyro")
    ),
    *(
        (
            framework,
            ("SineBivariateVonMises",),
            "unbounded at concentrations above 50 with weighted correlations near ±1",
            EXACT,
            EXACT,
            "the normalising series stops after 50 terms, in both libraries alike",
        )
        for framework in ("pyro", "numpyro")
    ),
    *(
        (
            framework,
            ("ProjectedNormal",),
            "unbounded opposite to a concentration longer than 4",
            EXACT,
            EXACT,
            "terms cancel, or are zero",
        )
        for framework in ("pyro", "numpyro")
    ),
    *(
        (
            framework,
            ("LowRankMultivariateNormal", "MultivariateNormal", "Wishart"),
            "unbounded for ill-conditioned matrices (above 1e4)",
            EXACT,
            EXACT,
            "rounding of the matrix, magnified by its condition number",
        )
        for framework in ("pyro", "numpyro")
    ),
    *(
        (
            framework,
            (
                "Beta",
                "Chi2",
                "Dirichlet",
                "DirichletMultinomial",
                "Gamma",
                "InverseGamma",
                "MultivariateStudentT",
                "Poisson",
                "StudentT",
                *({"pyro": ("BetaBinomial",), "numpyro": ("BetaProportion",)}[framework]),
            ),
            "unbounded at concentrations, degrees of freedom or counts above 1e4",
            EXACT,
            EXACT,
            "large values of lgamma cancel",
        )
        for framework in ("pyro", "numpyro")
    ),
]

INACCURACIES: tuple[Inaccuracy, ...] = tuple(
    Inaccuracy(framework, family, condition, log_density, gradient, reason)
    for framework, families, condition, log_density, gradient, reason in _TABLE
    for family in families
)
_BY_FAMILY = {(entry.framework, entry.family): entry for entry in INACCURACIES}


def known(framework: str, family: str) -> Inaccuracy | None:
    """The entry of a framework's family, None where its log density is as good as its precision."""
    return _BY_FAMILY.get((framework, family))
