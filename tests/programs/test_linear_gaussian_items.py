"""Items that the linear Gaussian model simulates and reconstructs, by moments and dense formulas."""

import numpy as np
from linear_gaussians import NAN, make_guide, make_model, marginal


def test_simulated_moments():
    """56 means and covariances of (a, x): 6 standard errors each, together 1e-7 to fail by chance."""
    model, n = make_model(6, 3, seed=9), 200_000
    x, a = model.simulate(n, np.random.default_rng(0))
    assert x.shape == (n, 6) and a.shape == (n, 3)
    again, _ = model.simulate(n, np.random.default_rng(0))
    np.testing.assert_array_equal(x, again)
    joint = np.hstack([a, x])
    mean_x, covariance_x = marginal(model)
    mean = np.concatenate([model.loc, mean_x])
    cross = np.diag(model.scale**2) @ model.loadings.T
    covariance = np.block([[np.diag(model.scale**2), cross], [cross.T, covariance_x]])
    variance = np.diag(covariance)
    assert np.all(np.abs(joint.mean(0) - mean) < 6 * np.sqrt(variance / n))
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert np.all(np.abs((joint - mean).T @ (joint - mean) / n - covariance) < 6 * error)


def test_reconstruct_by_dense_formulas():
    model, guide = make_model(5, 3, seed=10), make_guide(4, 3, seed=10)
    mean, sd = model.reconstruct(guide)
    for i in range(4):
        spread = model.loadings @ guide.covariance[i] @ model.loadings.T
        expected = np.diag(spread + np.diag(model.noise_scale**2))
        np.testing.assert_allclose(sd[i] ** 2, expected, rtol=1e-13)
        expected = model.loadings @ guide.loc[i] + model.intercept
        np.testing.assert_allclose(mean[i], expected, rtol=1e-13)


def test_reconstructed_features_are_conditioned_on_the_observed_ones():
    model = make_model(5, 3, seed=11)
    x = np.array([[0.2, NAN, -1.0, NAN, 2.0]])
    mean, sd = model.reconstruct(model.posterior(x))
    m, c = marginal(model)
    seen = np.array([True, False, True, False, True])
    gain = c[np.ix_(~seen, seen)] @ np.linalg.inv(c[np.ix_(seen, seen)])
    np.testing.assert_allclose(mean[0, ~seen], m[~seen] + gain @ (x[0] - m)[seen], rtol=1e-12)
    conditional = c[np.ix_(~seen, ~seen)] - gain @ c[np.ix_(seen, ~seen)]
    np.testing.assert_allclose(sd[0, ~seen] ** 2, np.diag(conditional), rtol=1e-12)
