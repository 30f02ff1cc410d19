"""Maximum likelihood, against closed forms, scikit-learn and SciPy's densities."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import zoo_truth
from zoo_truth import maximum_likelihood


def drawn(num_items=400, num_features=8, num_components=2, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(num_features, num_components))
    a, e = (rng.normal(size=(num_items, n)) for n in (num_components, num_features))
    return a @ loadings.T + noise * e + 3.0


def test_one_factor_of_three_features_is_a_closed_form():
    """Three covariances fix three loadings: w₁² = s₁₂ s₁₃ / s₂₃, and the fit has the sample's covariance."""
    x = drawn(num_features=3, num_components=1)
    s = np.cov(x.T, bias=True)
    squares = [
        s[0, 1] * s[0, 2] / s[1, 2],
        s[0, 1] * s[1, 2] / s[0, 2],
        s[0, 2] * s[1, 2] / s[0, 1],
    ]
    found = maximum_likelihood(x, 1)
    np.testing.assert_allclose(found.loadings[:, 0] ** 2, squares, rtol=1e-5)
    np.testing.assert_allclose(found.noise_scale**2, np.diag(s) - squares, rtol=1e-5)
    np.testing.assert_allclose(found.intercept, x.mean(axis=0))


def test_complete_data_as_scikit_learn_has_it():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = drawn(num_features=12, num_components=3)
    known = decomposition.FactorAnalysis(3, tol=1e-10, max_iter=20_000, svd_method="lapack").fit(x)
    assert maximum_likelihood(x, 3).log_evidence(x).mean() == pytest.approx(
        known.score(x), abs=1e-7
    )


def test_noise_stays_above_the_floor_of_the_programs():
    x = drawn(num_features=4, noise=1e-4)
    found = maximum_likelihood(x, 2)
    floor = zoo_truth.NOISE_FLOOR * x.std(axis=0)
    assert (found.noise_scale >= floor * (1 - 1e-12)).all()
    assert np.isclose(found.noise_scale, floor).any()


def test_the_likelihood_with_holes_is_that_of_the_observed_entries():
    rng = np.random.default_rng(1)
    z = drawn(30, 5, 2)
    z[rng.random(z.shape) < 0.3] = np.nan
    observed, filled = ~np.isnan(z), np.nan_to_num(z)
    numbers = 0.3 * rng.normal(size=5 * 2 + 5 + 5)
    loadings, intercept, logs = zoo_truth._parts(numbers, 5, 2)
    covariance = loadings @ loadings.T + np.diag(np.exp(logs))
    total = sum(
        multivariate_normal(intercept[o], covariance[np.ix_(o, o)]).logpdf(row[o])
        for row, o in zip(z, observed, strict=True)
        if o.any()
    )

    def loss(values):
        return zoo_truth._holed_loss(filled, observed, *zoo_truth._parts(values, 5, 2))

    assert loss(numbers)[0] == pytest.approx(-total / len(z), rel=1e-12)
    gradient = lambda values: np.concatenate([g.ravel() for g in loss(values)[1]])
    assert check_grad(lambda values: loss(values)[0], gradient, numbers) < 1e-5


def test_both_ways_agree_where_nothing_is_missing():
    x = drawn(num_features=6)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    found, known = zoo_truth._with_holes(z, 2), zoo_truth._complete(z, 2)
    covariances = [w @ w.T + np.diag(noise**2) for w, _, noise in (found, known)]
    np.testing.assert_allclose(*covariances, atol=1e-4)
