"""Posterior and evidence against brute-force integration, SciPy and the conditioned joint."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from linear_gaussians import (
    NAN,
    dense_posterior,
    log_joint,
    make_guide,
    make_items,
    make_model,
    marginal,
)
from scipy import stats

from twinplate.programs.linear_gaussian import LinearGaussian


@pytest.mark.parametrize("num_components", [1, 2])
def test_brute_force_integration(num_components):
    """The trapezoidal rule, which converges geometrically here, over 14 prior scales each way."""
    model = make_model(3, num_components, seed=3)
    x = np.array([[0.3, -1.2, 2.0], [NAN, 0.4, NAN], [1.5, NAN, -0.2], [NAN, NAN, NAN]])
    exact, evidence = model.posterior(x), model.log_evidence(x)
    axes = [m + s * np.linspace(-14, 14, 801) for m, s in zip(model.loc, model.scale, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, num_components)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    for i, item in enumerate(x):
        density = np.exp(log_joint(model, item, grid)) * cell
        total = density.sum()
        assert np.log(total) == pytest.approx(evidence[i], rel=1e-11, abs=1e-12)
        mean = density @ grid / total
        np.testing.assert_allclose(exact.loc[i], mean, rtol=1e-11)
        covariance = (density[:, None] * (grid - mean)).T @ (grid - mean) / total
        np.testing.assert_allclose(exact.covariance[i], covariance, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("num_features", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("num_components", [1, 2, 4, 9])
def test_against_scipy_and_the_conditioned_joint(num_features, num_components):
    model = make_model(num_features, num_components, seed=num_features)
    x = make_items(20, num_features, seed=num_components)
    x[0], x[1] = 1.0, np.where(np.arange(num_features) == num_features // 2, 0.7, NAN)
    exact, evidence = model.posterior(x), model.log_evidence(x)
    assert exact.loc.shape == (20, num_components) and evidence.shape == (20,)
    mean, covariance = marginal(model)
    for i, item in enumerate(x):
        seen = ~np.isnan(item)
        if seen.any():
            dense = stats.multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)])
            assert evidence[i] == pytest.approx(dense.logpdf(item[seen]), rel=1e-12)
        dense_loc, dense_covariance = dense_posterior(model, item)
        np.testing.assert_allclose(exact.loc[i], dense_loc, atol=1e-12)
        np.testing.assert_allclose(exact.covariance[i], dense_covariance, atol=1e-12)
        inverse = np.linalg.inv(dense_covariance)
        np.testing.assert_allclose(model.precision(x)[i], inverse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_precision_a_few_rows_at_a_time(monkeypatch, rows):
    """Wᵀ diag(observed / noise²) W of one item after the other; 7 rows in blocks of 1, or of 3, 3 and 1."""
    monkeypatch.setattr("twinplate.programs.linear_gaussian.fitting", lambda *_: rows)
    model, x = make_model(5, 7, seed=0), make_items(6, 5, seed=0)
    for found, item in zip(model.precision(x), x, strict=True):
        seen = ~np.isnan(item)
        gram = model.loadings[seen].T / model.noise_scale[seen] ** 2 @ model.loadings[seen]
        np.testing.assert_allclose(
            found, gram + np.diag(model.scale**-2), rtol=1e-13, atol=1e-13 * np.abs(gram).max()
        )


def test_an_item_without_any_entry_leaves_the_prior():
    model = make_model(4, 3, seed=0)
    x = np.full((1, 4), NAN)
    assert model.log_evidence(x)[0] == pytest.approx(0, abs=1e-15)
    np.testing.assert_array_equal(model.posterior(x).loc[0], model.loc)
    np.testing.assert_allclose(model.posterior(x).scale_tril[0], np.diag(model.scale), rtol=1e-15)


def test_scale_tril_is_the_cholesky_factor():
    model, x = make_model(6, 4, seed=1), make_items(10, 6, seed=1)
    exact = model.posterior(x)
    assert np.all(np.diagonal(exact.scale_tril, axis1=1, axis2=2) > 0)
    expected = np.linalg.cholesky(np.stack([dense_posterior(model, item)[1] for item in x]))
    np.testing.assert_allclose(exact.scale_tril, expected, atol=1e-13)


def test_scale_tril_is_exactly_lower_triangular():
    exact = make_model(6, 4, seed=1).posterior(make_items(10, 6, seed=1))
    np.testing.assert_array_equal(np.triu(exact.scale_tril, 1), 0)


def test_correlation():
    guide = make_guide(3, 4, seed=0)
    for tril, correlation in zip(guide.scale_tril, guide.correlation, strict=True):
        expected = stats.Covariance.from_cholesky(tril).covariance
        sd = np.sqrt(np.diag(expected))
        np.testing.assert_allclose(correlation, expected / np.outer(sd, sd), rtol=1e-14)


SIZES = {"d": st.integers(1, 7), "k": st.integers(1, 5), "seed": st.integers(0, 2**32)}


@settings(deadline=None)
@given(**SIZES)
def test_evidence_is_the_product_of_conditionals(d, k, seed):
    """log p(x) = Σ log p(x_d | x_1 … x_{d-1}), each factor a prediction for a hidden feature."""
    model, x = make_model(d, k, seed), make_items(3, d, seed)
    total = np.zeros(3)
    for j in range(d):
        mean, sd = model.reconstruct(model.posterior(np.where(np.arange(d) < j, x, NAN)))
        total += np.nan_to_num(stats.norm.logpdf(x[:, j], mean[:, j], sd[:, j]))
    np.testing.assert_allclose(model.log_evidence(x), total, rtol=1e-10, atol=1e-11)


@settings(deadline=None)
@given(**SIZES)
def test_permuted_items_features_and_components_give_permuted_results(d, k, seed):
    model, x = make_model(d, k, seed), make_items(4, d, seed)
    rng = np.random.default_rng(seed)
    n, d, k = (rng.permutation(size) for size in (4, d, k))
    by_feature = (model.loadings[np.ix_(d, k)], model.intercept[d], model.noise_scale[d])
    permuted = LinearGaussian(*by_feature, model.loc[k], model.scale[k])
    y = x[np.ix_(n, d)]
    close = {"rtol": 1e-10, "atol": 1e-11}
    np.testing.assert_allclose(permuted.log_evidence(y), model.log_evidence(x)[n], **close)
    exact, expected = permuted.posterior(y), model.posterior(x)
    np.testing.assert_allclose(exact.loc, expected.loc[n][:, k], **close)
    np.testing.assert_allclose(exact.covariance, expected.covariance[n][:, k][:, :, k], **close)
    gaps = (m.family_gap(v, "diagonal") for m, v in ((permuted, y), (model, x)))
    np.testing.assert_allclose(next(gaps), next(gaps)[n], **close)


def test_one_item_one_feature_one_component():
    """By hand: w = 2, noise 0.5, prior N(1, 3²), b = -1, x = 4."""
    model, x = LinearGaussian([[2]], -1, 0.5, 1, 3), [[4.0]]
    precision = 1 / 9 + 4 / 0.25
    exact = model.posterior(x)
    assert exact.scale_tril.item() == pytest.approx(precision**-0.5, rel=1e-15)
    assert exact.loc.item() == pytest.approx((1 / 9 + 2 * 5 / 0.25) / precision, rel=1e-15)
    variance = 4 * 9 + 0.25
    by_hand = -0.5 * (np.log(2 * np.pi * variance) + (4 - 1) ** 2 / variance)
    assert model.log_evidence(x).item() == pytest.approx(by_hand, rel=1e-15)
