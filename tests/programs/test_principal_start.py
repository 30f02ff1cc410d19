"""What principal components start from: probabilistic PCA of the standardised features."""

import numpy as np
import pytest
import scipy.linalg
from program_cases import make_data, refusal

from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.program import NOISE_FLOOR, principal_start


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize("num_components", [1, 2, 4])
def test_loadings_are_those_of_probabilistic_pca(num_components):
    """scikit-learn's PCA of the standardised features; it divides variances by N - 1, not N."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = make_data(num_items=40, num_features=6)
    start = principal_start(x, num_components)
    pca = decomposition.PCA(num_components).fit(standardised(x))
    covariance = (pca.get_covariance() - pca.noise_variance_ * np.eye(6)) * 39 / 40
    loadings = start.loadings / x.std(0)[:, None]
    np.testing.assert_allclose(loadings @ loadings.T, covariance, atol=1e-12)
    gram = loadings.T @ loadings
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    np.testing.assert_allclose(start.intercept, x.mean(0), rtol=1e-13)
    assert (
        start.loc.tolist() == [0] * num_components and start.scale.tolist() == [1] * num_components
    )


@pytest.mark.parametrize("num_components", [1, 2, 4])
def test_the_noise_makes_up_the_variance_of_every_feature(num_components):
    x = make_data(num_items=40, num_features=6)
    start = principal_start(x, num_components)
    model_variance = np.sum(start.loadings**2, axis=1) + start.noise_scale**2
    np.testing.assert_allclose(model_variance, x.var(0), rtol=1e-12)


def test_it_is_the_maximum_of_the_likelihood_where_the_residual_is_isotropic():
    """Columns of a Hadamard matrix: a standardised covariance W Wᵀ + σ² I, which the data have exactly.

    There the fitted covariance is the sample's, so that the mean log evidence is the largest that any
    Gaussian reaches, -½ (D log 2π + log det S + D); 200 random perturbations stay below.
    """
    w = scipy.linalg.hadamard(8)[:, [1, 2, 4]] * [0.6, 0.5, 0.3]
    covariance = w @ w.T + (1 - 0.36 - 0.25 - 0.09) * np.eye(8)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 8))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / 50)).T @ np.linalg.cholesky(covariance).T
    spread, center = 10.0 ** rng.uniform(-2, 2, 8), rng.normal(size=8)
    x = center + spread * z
    start = principal_start(x, 3)
    log_det = np.linalg.slogdet(covariance)[1] + 2 * np.sum(np.log(spread))
    best = -0.5 * (8 * np.log(2 * np.pi) + log_det + 8)
    assert start.log_evidence(x).mean() == pytest.approx(best, rel=1e-11)
    for size in np.repeat([1e-3, 0.1], 100):
        near = LinearGaussian(
            start.loadings + size * spread[:, None] * rng.normal(size=(8, 3)),
            start.intercept + size * spread * rng.normal(size=8),
            start.noise_scale * np.exp(size * rng.normal(size=8)),
        )
        assert near.log_evidence(x).mean() < best


def test_it_follows_the_units_of_every_feature():
    x, units, shift = make_data(), np.array([1e-3, 1, 7, 100, 1e4]), np.arange(5.0)
    start, scaled = principal_start(x, 2), principal_start(x * units + shift, 2)
    product = scaled.loadings @ scaled.loadings.T
    expected = start.loadings @ start.loadings.T * np.outer(units, units)
    np.testing.assert_allclose(product, expected, rtol=1e-9)
    np.testing.assert_allclose(scaled.intercept, start.intercept * units + shift, rtol=1e-12)
    np.testing.assert_allclose(scaled.noise_scale, start.noise_scale * units, rtol=1e-11)


def test_missing_entries_stand_at_their_mean():
    x = make_data(missing=0.3)
    center, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    z = np.where(np.isnan(x), 0, (x - center) / spread)
    start = principal_start(x, 2)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    strengths = values[:-3:-1] - values[:-2].mean()
    product = (vectors[:, :-3:-1] * strengths) @ vectors[:, :-3:-1].T
    loadings = start.loadings / spread[:, None]
    np.testing.assert_allclose(loadings @ loadings.T, product, atol=1e-12)
    residual = np.sqrt(1 - np.diag(product))
    np.testing.assert_allclose(start.noise_scale, spread * residual, rtol=1e-12)


@pytest.mark.parametrize(("num_items", "num_components"), [(30, 5), (2, 2), (3, 2), (1, 1)])
def test_it_is_sound_at_the_limits(num_items, num_components):
    """As many components as features or items: the noise keeps twice its floor, no loading is lost."""
    start = principal_start(make_data(num_items), num_components)
    spread = make_data(num_items).std(0) if num_items > 1 else np.ones(5)
    assert np.all(start.noise_scale >= 2 * NOISE_FLOOR * spread * (1 - 1e-12))
    assert np.all(np.linalg.norm(start.loadings, axis=0) > 0)


def test_more_components_than_items_or_features_are_refused():
    assert "num_components is 6" in refusal(principal_start, make_data(), 6)
    assert "= 5" in refusal(principal_start, make_data(), 6)
    assert "min(items, features) = 2" in refusal(principal_start, make_data(2), 3)
