"""The importance-weighted bound against integrals over the latents."""

import numpy as np
import pytest
import scipy

from twinplate import Gaussian, GeneralisedLinear
from twinplate.programs.importance import few_draws, importance_bound, weighted_draws

MODELS = {
    "poisson": None,
    "negative-binomial": np.array([0.7, 3.0, 20.0]),
    "bernoulli": None,
}


def model_of(likelihood, num_components):
    rng = np.random.default_rng(3)
    loadings = rng.normal(size=(3, num_components))
    return GeneralisedLinear(likelihood, loadings, [0.3, -0.5, 1.0], 0.2, 1.3, MODELS[likelihood])


def integrated(model, x, offsets):
    """log ∫ p(x, a) da of every item, by the trapezoidal rule, of SciPy's densities."""
    axis = np.linspace(-11, 11, 241)
    grid = np.stack(np.meshgrid(*[axis] * model.num_components, indexing="ij"), axis=-1)
    prior = scipy.stats.norm(model.loc, model.scale).logpdf(grid).sum(axis=-1)
    found = []
    for items, offset in zip(x, offsets, strict=True):
        mean = offset * np.exp(grid @ model.loadings.T + model.intercept)
        if model.likelihood == "bernoulli":
            entries = scipy.stats.bernoulli(mean / (1 + mean)).logpmf(items)
        elif model.likelihood == "poisson":
            entries = scipy.stats.poisson(mean).logpmf(items)
        else:
            c = model.concentration
            entries = scipy.stats.nbinom(c, c / (c + mean)).logpmf(items)
        density = np.exp(prior + np.where(np.isnan(items), 0.0, entries).sum(axis=-1))
        for _ in range(model.num_components):
            density = scipy.integrate.trapezoid(density, axis, axis=-1)
        found.append(np.log(density))
    return np.array(found)


@pytest.mark.parametrize("likelihood", MODELS)
@pytest.mark.parametrize("num_components", [1, 2])
def test_the_bound_is_the_integral_within_its_error(likelihood, num_components):
    model = model_of(likelihood, num_components)
    offsets = np.array([0.5, 1.0, 3.0])
    x = model.simulate(3, np.random.default_rng(1), offsets)[0]
    x[1, 2] = np.nan
    # a guide that is not the posterior: the same for every item
    guide = Gaussian(np.full((3, num_components), 0.3), np.tile(np.eye(num_components), (3, 1, 1)))
    parts = [
        Gaussian(guide.loc[:2], guide.scale_tril[:2]),
        Gaussian(guide.loc[2:], guide.scale_tril[2:]),
    ]
    bound = importance_bound(model, x, offsets, parts, num_samples=10_000)
    known = integrated(model, x, offsets)
    assert (bound.error < 0.15).all()
    assert (np.abs(bound.value - known) < 4 * bound.error + 1e-6).all()


def test_the_error_is_the_spread_over_seeds():
    model, x = model_of("poisson", 2), np.array([[2.0, 0.0, 5.0]])
    guide = Gaussian(np.zeros((1, 2)), 0.5 * np.eye(2)[None])
    bounds = [importance_bound(model, x, None, [guide], 500, seed) for seed in range(40)]
    spread = np.std([bound.value[0] for bound in bounds], ddof=1)
    assert spread == pytest.approx(np.mean([bound.error[0] for bound in bounds]), rel=0.35)


def test_draws_of_an_item_are_its_own():
    model, x = model_of("poisson", 1), np.array([[2.0, 0.0, 5.0], [1.0, 1.0, 1.0]])
    guide = Gaussian(np.zeros((2, 1)), np.ones((2, 1, 1)))
    both = importance_bound(model, x, None, [guide], 50)
    other = importance_bound(model, x[::-1], None, [guide], 50)
    first = Gaussian(guide.loc[:1], guide.scale_tril[:1])
    alone = importance_bound(model, x[:1], None, [first], 50)
    assert alone.value[0] == pytest.approx(both.value[0], rel=1e-12)
    assert abs(other.value[1] - both.value[0]) > 1e-3


def test_items_with_few_effective_draws_are_named():
    """Nine of ten draws are the guide's, which misses the item by far: hardly a draw counts."""
    model = GeneralisedLinear("poisson", np.ones((4, 1)))
    x = np.array([[1.0, 2.0, 1.0, 0.0], [1e6, 0.0, 1.0, 1.0]])
    guide = Gaussian(np.zeros((2, 1)), np.full((2, 1, 1), 0.5))
    bound = importance_bound(model, x, None, [guide])
    assert few_draws(bound.effective_draws).startswith("1 item has fewer than 20 effective draws")
    assert "(row 2)" in few_draws(bound.effective_draws)
    assert "(row 51)" in few_draws(bound.effective_draws, np.array([0, 50]))
    assert few_draws(bound.effective_draws[:1]) == ""


def test_the_elbo_is_below_the_bound_by_the_divergence_of_the_guide():
    """Of counts that are all zero at tiny means the posterior is the prior: the divergence is known."""
    model = GeneralisedLinear("poisson", np.zeros((3, 2)), -1.0)
    x, scale = np.zeros((2, 3)), np.array([[0.8, 0.0], [0.3, 0.9]])
    guide = Gaussian(np.array([[0.4, -0.2], [0.0, 0.0]]), np.stack([scale, np.eye(2)]))
    bound = importance_bound(model, x, None, [guide], 20_000)
    trace = np.trace(scale @ scale.T) + guide.loc[0] @ guide.loc[0]
    known = 0.5 * (trace - 2) - np.log(np.diag(scale)).sum()
    assert abs(bound.missed[0] - known) < 4 * np.hypot(bound.error, bound.elbo_error)[0]
    assert bound.missed[1] == pytest.approx(0, abs=1e-12) and bound.elbo_error[0] > 0


def test_weighted_draws_have_the_moments_of_the_posterior():
    model = GeneralisedLinear("poisson", [[1.0], [0.5]], 0.2)
    x, grid = np.array([[4.0, np.nan], [0.0, 1.0]]), np.linspace(-8, 8, 4001)
    guide = Gaussian(np.zeros((2, 1)), np.full((2, 1, 1), 0.7))
    latents, weights = weighted_draws(model, x, None, [guide], 20_000)
    mean = np.sum(weights * latents[..., 0], axis=0)
    sd = np.sqrt(np.sum(weights * (latents[..., 0] - mean) ** 2, axis=0))
    for n, item in enumerate(x):
        rate = np.exp(grid[:, None] * [1.0, 0.5] + 0.2)
        entries = np.nan_to_num(scipy.stats.poisson(rate).logpmf(item))
        density = np.exp(entries.sum(axis=1) + scipy.stats.norm.logpdf(grid))
        known = np.sum(density * grid) / density.sum()
        known_sd = np.sqrt(np.sum(density * (grid - known) ** 2) / density.sum())
        assert mean[n] == pytest.approx(known, abs=0.02) and sd[n] == pytest.approx(known_sd, 0.03)
