"""Fits of counts, zeros and ones: matched in both twins, and beside NUTS and integrals over the latents."""

from __future__ import annotations

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy
from numpyro.infer import MCMC, NUTS

import numpyro_impl
from equivalence_tests.reference.agreement import relative_error
from equivalence_tests.reference.cases import TWINS
from equivalence_tests.reference.count_cases import OTHERS, CountCase
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.program import make_program
from twinplate.training.state import Fit

JUDGED = 5  # items


@pytest.mark.parametrize(
    ("likelihood", "guide", "covariance"),
    [
        ("poisson", "auxiliary", "full"),
        ("negative-binomial", "diagonal", "diagonal"),
        ("bernoulli", "event", "low-rank"),
    ],
)
def test_matched_training(likelihood: str, guide: str, covariance: str) -> None:
    case = CountCase(guide, covariance, "missing", learned=True, likelihood=likelihood)
    config = TrainingConfig(steps=100, batch_size=5, precision="float64", device="cpu")
    fits = [
        twin.fit(case.x, case.program, config, offsets=case.offsets, matched=True)
        for twin in TWINS.values()
    ]
    first, second = fits
    assert len(first.losses) == 100
    assert relative_error(first.losses, second.losses) <= 1e-12
    for name, values in first.state.average.items():
        assert relative_error(values, second.state.average[name]) <= 1e-11, name


def model_of(likelihood: str) -> GeneralisedLinear:
    rng = np.random.default_rng(4)
    loadings = rng.normal(size=(8, 2)) + np.array([0.8, 0.0])  # which overlap
    concentration = 2.0 if likelihood == "negative-binomial" else None
    return GeneralisedLinear(likelihood, loadings, 0.3, concentration=concentration)


def fitted(model: GeneralisedLinear) -> tuple[Fit, np.ndarray, np.ndarray | None]:
    """A guide for the known model, and its items with their offsets."""
    rng = np.random.default_rng(5)
    offsets = None if model.likelihood == "bernoulli" else rng.uniform(0.5, 1.5, 2000)
    x, _ = model.simulate(2000, rng, offsets)
    program = make_program(
        x, ProgramConfig(8, 2, guide="event", likelihood=model.likelihood), model, offsets=offsets
    )
    training = TrainingConfig(steps=3000, device="cpu")
    return numpyro_impl.fit(x, program, training, offsets=offsets), x, offsets


def by_nuts(model: GeneralisedLinear, x: np.ndarray, offsets: np.ndarray | None) -> np.ndarray:
    """Draws of the posterior (S, N, K), of a program written for this test alone."""

    def program() -> None:
        with numpyro.plate("items", len(x)):
            a = numpyro.sample("a", dist.Normal(0.0, 1.0).expand((2,)).to_event(1))
            eta = a @ model.loadings.T + model.intercept
            if offsets is not None:
                eta = eta + np.log(offsets)[:, None]
            of: dist.Distribution = dist.Bernoulli(logits=eta)
            if model.likelihood == "poisson":
                of = dist.Poisson(jax.numpy.exp(eta))
            if model.concentration is not None:
                of = dist.NegativeBinomial2(jax.numpy.exp(eta), model.concentration)
            numpyro.sample("x", of.to_event(1), obs=x)

    mcmc = MCMC(NUTS(program), num_warmup=500, num_samples=4000, progress_bar=False)
    mcmc.run(jax.random.key(0))
    return np.asarray(mcmc.get_samples()["a"], np.float64)


def by_integrals(
    model: GeneralisedLinear, x: np.ndarray, offsets: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, K) and covariances (N, K, K) of the posterior, on a grid, of SciPy's densities."""
    axis = np.linspace(-6, 6, 241)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    means, covariances = [], []
    for n, items in enumerate(x):
        mean = np.exp(grid @ model.loadings.T + model.intercept)
        mean *= 1.0 if offsets is None else offsets[n]
        entries = scipy.stats.poisson(mean).logpmf(items)
        if model.likelihood == "bernoulli":
            entries = scipy.stats.bernoulli(mean / (1 + mean)).logpmf(items)
        if (c := model.concentration) is not None:
            entries = scipy.stats.nbinom(c, c / (c + mean)).logpmf(items)
        logs = entries.sum(axis=1) + scipy.stats.norm.logpdf(grid).sum(axis=1)
        weight = np.exp(logs - logs.max())
        weight /= weight.sum()
        means.append(weight @ grid)
        apart = grid - means[-1]
        covariances.append((weight[:, None] * apart).T @ apart)
    return np.array(means), np.array(covariances)


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Of the two components (N,)."""
    return np.asarray(covariance[:, 0, 1] / np.sqrt(covariance[:, 0, 0] * covariance[:, 1, 1]))


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", OTHERS)
def test_the_guide_has_the_posterior_of_nuts_and_of_integrals(likelihood: str) -> None:
    model = model_of(likelihood)
    fit, x, offsets = fitted(model)
    x, offsets = x[:JUDGED], None if offsets is None else offsets[:JUDGED]
    q = fit.posterior(x, offsets=offsets)
    draws = by_nuts(model, x, offsets)
    covariances = np.stack([np.cov(draws[:, n].T) for n in range(JUDGED)])
    for means, covariance in ((draws.mean(0), covariances), by_integrals(model, x, offsets)):
        sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        of_guide = np.sqrt(np.diagonal(q.covariance, axis1=1, axis2=2))
        assert (np.abs(q.loc - means) < 0.3 * sd).all()
        assert (np.abs(np.log(of_guide / sd)) < 0.15).all()
        assert (np.abs(correlation(q.covariance) - correlation(covariance)) < 0.15).all()
    assert np.abs(correlation(covariance)).max() > 0.15  # or there was nothing to be seen
