"""Where a framework's own log density is known to be wrong in double precision.

Measured with Pyro 1.9.2 on torch 2.13 and NumPyro 0.22 on JAX 0.10.2, judged by mpmath;
`docs/distributions.md` has the figures. It is nobody's mistake of porting, so it is reported as a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

EXACT = 1e-12  # what is left at ordinary settings where only extreme ones are inaccurate
DIGAMMA = 2e-13  # rounding of a few digammas of numbers up to 1e15

Range = tuple[str, float, float]  # what is looked at, from, to


@dataclass(frozen=True)
class Inaccuracy:
    """One family of one framework.

    framework: "pyro" or "numpyro".  family: the class, without independent, masked, expanded; of the
        site's own distribution, or of one that it is made of.
    condition: where.  reason: why.
    log_density, gradient: bounds on the error of the log density and of its gradient in the
        distribution's parameters, relative to max(1, |value|).
    inside: the bounds hold where all of these are within their range. A name is that of an argument,
        "value", "log_prob", "condition", the condition number of its covariance, or "power", the value to
        its concentration1; one that the site does not have counts as within. Elsewhere the density has
        no bound.
    gradient_outside: the bound of the gradient elsewhere, infinite without one: for each unit of the largest
        number that is looked at, by which a gradient in its logarithm has the error of that in the number.
    """

    framework: str
    family: str
    condition: str
    log_density: float
    gradient: float
    reason: str
    inside: tuple[Range, ...] = ()
    gradient_outside: float = inf


def _entries(
    frameworks: str,
    families: str,
    condition: str,
    bound: float,
    reason: str,
    inside: Iterable[Range] = (),
    gradient: float | None = None,
    gradient_outside: float = inf,
) -> Iterator[Inaccuracy]:
    """An entry for each framework and family; `bound` is that of the gradient, too, without one."""
    for framework in frameworks.split():
        for family in families.split():
            yield Inaccuracy(
                framework,
                family,
                condition,
                bound,
                bound if gradient is None else gradient,
                reason,
                tuple(inside),
                gradient_outside,
            )


def _within(low: float, high: float, names: str) -> list[Range]:
    return [(name, low, high) for name in names.split()]


BETALN = "JAX's betaln: its algdiv takes x = h / (1 + h) for 1 / (1 + h)"
SOFTPLUS = "torch's softplus is linear above 20"
CLAMPED = "probs are clamped, with gradient zero"
CANCELS = "probs become logits, whose sigmoid cancels in the gradient; they are clamped at 2e-16"
NEAR = _within(2.0**-29, 1 - 2.0**-29, "probs")
PROBS = _within(2.0**-52, 1 - 2.0**-52, "probs")
CONCENTRATIONS = _within(0.0, 1e4, "concentration concentration0 concentration1")
COUNTS = _within(0.0, 1e4, "value total_count")
KUMARASWAMY = [*_within(0.1, inf, "concentration1"), *_within(0.0, 0.99, "value")]

INACCURACIES: tuple[Inaccuracy, ...] = (
    *_entries(
        "numpyro",
        "GammaPoisson NegativeBinomial2",
        "where the larger argument of a beta function is 8 or more; unbounded at concentrations "
        "or counts above 1e4",
        3e-6,
        f"{BETALN}; large terms cancel",
        [*CONCENTRATIONS, *COUNTS],
        gradient_outside=DIGAMMA,
    ),
    *_entries(
        "pyro",
        "GammaPoisson",
        "unbounded at concentrations or counts above 1e4",
        EXACT,
        "large terms cancel",
        [*CONCENTRATIONS, *COUNTS],
        gradient_outside=DIGAMMA,
    ),
    *_entries(
        "numpyro",
        "BetaBinomial",
        "where the larger argument of a beta function is 8 or more; unbounded at concentrations "
        "or counts above 1e4",
        3e-6,
        f"{BETALN}; lgamma cancels",
        [*CONCENTRATIONS, *COUNTS],
        gradient_outside=DIGAMMA,
    ),
    *_entries(
        "numpyro",
        "NegativeBinomialProbs",
        "where the larger argument of a beta function is 8 or more; unbounded at probs above 1 - 1e-9",
        3e-6,
        f"{BETALN}; near probs = 1 the rate 1 / probs - 1 loses its digits",
        _within(0.0, 1 - 1e-9, "probs"),
    ),
    *_entries(
        "pyro",
        "VonMises SineSkewed",
        "everywhere (a sine-skewed distribution has it from its base)",
        2e-6,
        "the Bessel functions are polynomials made for single precision",
    ),
    *_entries(
        "pyro",
        "TransformedDistribution",
        "with a sigmoid at unconstrained values beyond ±20, x below 2e-9 for instance",
        5e-9,
        SOFTPLUS,
    ),
    *_entries(
        "pyro",
        "ZeroInflatedDistribution ZeroInflatedNegativeBinomial ZeroInflatedPoisson",
        "by gate_logits, beyond ±20",
        5e-9,
        SOFTPLUS,
    ),
    *_entries(
        "pyro",
        "Geometric",
        "by logits, beyond ±20; by probs unbounded within 2e-9 of 0 or 1",
        5e-9,
        f"{SOFTPLUS}; {CANCELS}",
        NEAR,
        gradient=1e-6,
    ),
    *_entries(
        "pyro",
        "RelaxedBernoulli",
        "at x below 2e-9, or as near to 1; unbounded by probs within 2e-16 of 0 or 1",
        5e-9,
        f"{SOFTPLUS}; {CLAMPED}",
        PROBS,
    ),
    *_entries(
        "pyro",
        "Bernoulli Binomial",
        "by probs, unbounded within 2e-9 of 0 or 1",
        EXACT,
        CANCELS,
        NEAR,
        gradient=1e-6,
    ),
    *_entries(
        "pyro",
        "Categorical Multinomial OneHotCategorical",
        "by probs, unbounded within 2e-16 of 0 or 1",
        EXACT,
        CLAMPED,
        PROBS,
    ),
    *_entries(
        "pyro",
        "NegativeBinomial",
        "unbounded by probs within 2e-16 of 0 or 1, and at counts or total counts above 1e4",
        EXACT,
        f"{CLAMPED}; lgamma cancels",
        [*PROBS, *COUNTS],
    ),
    *_entries(
        "pyro",
        "OrderedLogistic",
        "unbounded where a category's probability is below 2e-16",
        EXACT,
        "probabilities are clamped, with gradient zero",
        _within(-36.0, 0.0, "log_prob"),
    ),
    *_entries(
        "numpyro",
        "OrderedLogistic",
        "unbounded (-inf) where a category's probability is below 2e-16",
        EXACT,
        "probabilities are differences of sigmoids, which underflow",
        _within(-36.0, 0.0, "log_prob"),
    ),
    *_entries(
        "numpyro",
        "AsymmetricLaplaceQuantile",
        "unbounded at quantiles above 0.999",
        EXACT,
        "1 / quantile - 1 loses its digits",
        _within(0.0, 0.999, "quantile"),
    ),
    *_entries(
        "pyro",
        "Kumaraswamy",
        "unbounded at concentration1 below 0.1, or x above 0.99; -inf where x**concentration1 is below 1e-16",
        EXACT,
        "1 - x**concentration1 loses its digits, or is zero or one, an edge of the uniform behind it",
        [*KUMARASWAMY, *_within(2.0**-53, inf, "power")],
    ),
    *_entries(
        "numpyro",
        "Kumaraswamy",
        "unbounded at concentration1 below 0.1, or x above 0.99",
        EXACT,
        "1 - x**concentration1 loses its digits, or is zero",
        KUMARASWAMY,
    ),
    *_entries(
        "pyro numpyro",
        "SineBivariateVonMises",
        "unbounded at concentrations above 50 with weighted correlations near ±1",
        EXACT,
        "the normalising series stops after 50 terms, in both libraries alike",
        _within(0.0, 50.0, "phi_concentration psi_concentration"),
    ),
    *_entries(
        "pyro numpyro",
        "ProjectedNormal",
        "unbounded opposite to a concentration with an entry beyond ±2",
        EXACT,
        "terms cancel, or are zero",
        _within(-2.0, 2.0, "concentration"),
    ),
    *_entries(
        "pyro numpyro",
        "LowRankMultivariateNormal MultivariateNormal Wishart",
        "unbounded for matrices of condition number above 100",
        EXACT,
        "rounding of the matrix, magnified by its condition number",
        _within(1.0, 100.0, "condition"),
    ),
    *(
        entry
        for framework, other in (("pyro", "BetaBinomial"), ("numpyro", "BetaProportion"))
        for entry in _entries(
            framework,
            f"Beta Chi2 Dirichlet Gamma InverseGamma MultivariateStudentT StudentT {other}",
            "unbounded at concentrations or degrees of freedom above 1e4",
            EXACT,
            "large values of lgamma cancel",
            [*CONCENTRATIONS, *_within(0.0, 1e4, "df total_count")],
            gradient_outside=DIGAMMA,
        )
    ),
    *_entries(
        "pyro numpyro",
        "DirichletMultinomial Poisson",
        "unbounded at concentrations or counts above 1e4",
        EXACT,
        "large values of lgamma cancel",
        [*CONCENTRATIONS, *COUNTS],
        gradient_outside=DIGAMMA,
    ),
)
_BY_FAMILY = {(entry.framework, entry.family): entry for entry in INACCURACIES}


def known(framework: str, family: str) -> Inaccuracy | None:
    """The entry of a framework's family, None where its log density is as good as its precision.

    One that is made of others, as a mixture is, has no entry for what these are off by.
    """
    return _BY_FAMILY.get((framework, family))
