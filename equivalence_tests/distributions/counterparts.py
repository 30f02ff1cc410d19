"""Which NumPyro classes stand for a Pyro family whose name is not simply the same.

Many of NumPyro's names are factories: `Bernoulli(probs)` is a `BernoulliProbs`, `Bernoulli(logits=…)`
a `BernoulliLogits`. `ZeroInflatedNegativeBinomial2(…)` is a `ZeroInflatedProbs` or
`ZeroInflatedLogits` around a `NegativeBinomial2`.
"""

from __future__ import annotations

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


def counterparts(family: str) -> tuple[str, ...]:
    """NumPyro's classes for Pyro's class `family`; the same name where nothing else is known."""
    return COUNTERPARTS.get(family, (family,))
