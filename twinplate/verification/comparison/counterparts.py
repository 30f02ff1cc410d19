"""Which classes are one family: NumPyro's that stand for a Pyro family of another name, and others.

Many of NumPyro's names are factories: `Bernoulli(probs)` is a `BernoulliProbs`, `Bernoulli(logits=…)`
a `BernoulliLogits`. `ZeroInflatedNegativeBinomial2(…)` is a `ZeroInflatedProbs` or
`ZeroInflatedLogits` around a `NegativeBinomial2`.
"""

from __future__ import annotations

import re

# Pyro's class -> NumPyro's classes; every other shared family has the same name in both
COUNTERPARTS: dict[str, tuple[str, ...]] = {
    "AffineBeta": ("TransformedDistribution",),
    "AsymmetricLaplace": ("AsymmetricLaplace", "AsymmetricLaplaceQuantile"),
    "Bernoulli": ("BernoulliLogits", "BernoulliProbs"),
    "Beta": ("Beta", "BetaProportion"),
    "Binomial": ("BinomialLogits", "BinomialProbs"),
    "Categorical": ("CategoricalLogits", "CategoricalProbs"),
    "Geometric": ("GeometricLogits", "GeometricProbs"),
    "Multinomial": ("MultinomialLogits", "MultinomialProbs"),
    "NegativeBinomial": ("NegativeBinomial2", "NegativeBinomialLogits", "NegativeBinomialProbs"),
    "OneHotCategorical": ("MultinomialLogits", "MultinomialProbs"),
    "RelaxedBernoulli": ("RelaxedBernoulliLogits",),
    "TransformedDistribution": ("LogUniform", "TransformedDistribution"),
    "ZeroInflatedDistribution": ("ZeroInflatedLogits", "ZeroInflatedProbs"),
    "ZeroInflatedNegativeBinomial": ("ZeroInflatedLogits", "ZeroInflatedProbs"),
    "ZeroInflatedPoisson": ("ZeroInflatedLogits", "ZeroInflatedPoisson"),
}


COUNTS = ("GammaPoisson", "NegativeBinomial", "NegativeBinomial2")  # one family by three names
MADE_OF_OTHERS = ("ZeroInflated", "Truncated")  # in names of classes; what they are made of tells


def counterparts(family: str) -> tuple[str, ...]:
    """NumPyro's classes for Pyro's class `family`; the same name where nothing else is known."""
    return COUNTERPARTS.get(family, (family,))


def same_family(first: str, second: str) -> bool:
    """Whether two classes of either library may be one family by two names.

    >>> same_family("ZeroInflatedNegativeBinomial", "ZeroInflatedProbs"), same_family("Normal", "Laplace")
    (True, False)
    """
    names = (first, second)
    plain = [re.sub(r"(Probs|Logits)$", "", name) for name in names]
    return (
        plain[0] == plain[1]
        or second in counterparts(first)
        or first in counterparts(second)
        or all(name in COUNTS for name in plain)
        or any(all(word in name for name in names) for word in MADE_OF_OTHERS)
    )
