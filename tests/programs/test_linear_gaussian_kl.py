"""KL, ELBO and the gap of a family against textbook formulas, Monte Carlo and an optimiser.

Monte Carlo estimates must lie within 5 standard errors (6e-7 for one number to fail by chance; the
seeds are fixed).
"""

import numpy as np
import pytest
from linear_gaussians import NAN, dense_posterior, log_joint, make_guide, make_items, make_model
from scipy import optimize, stats

from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import LinearGaussian


def dense_kl(mean, covariance, other_mean, other_covariance) -> float:
    """KL between two Gaussians, the textbook formula."""
    inverse = np.linalg.inv(other_covariance)
    delta = other_mean - mean
    ratio = np.linalg.det(other_covariance) / np.linalg.det(covariance)
    trace = np.trace(inverse @ covariance)
    return 0.5 * (trace + delta @ inverse @ delta - len(mean) + np.log(ratio))


def assert_mean_is(draws: np.ndarray, expected: float) -> None:
    error = draws.std(ddof=1) / np.sqrt(len(draws))
    assert abs(draws.mean() - expected) < 5 * error


@pytest.mark.parametrize("num_components", [1, 3])
def test_kl_against_the_textbook_formula(num_components):
    model, x = make_model(5, num_components, seed=2), make_items(6, 5, seed=2)
    guide = make_guide(6, num_components, seed=2)
    kl = model.kl_to_posterior(x, guide)
    for i, item in enumerate(x):
        expected = dense_kl(guide.loc[i], guide.covariance[i], *dense_posterior(model, item))
        assert kl[i] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(model.kl_to_posterior(x, model.posterior(x)), 0, atol=1e-13)


def test_kl_and_elbo_against_monte_carlo():
    model, x, guide = make_model(4, 2, seed=4), make_items(3, 4, seed=4), make_guide(3, 2, seed=4)
    kl, elbo = model.kl_to_posterior(x, guide), model.expected_elbo(x, guide)
    rng = np.random.default_rng(0)
    for i, item in enumerate(x):
        q = stats.multivariate_normal(guide.loc[i], guide.covariance[i])
        a = q.rvs(200_000, random_state=rng)
        log_posterior = stats.multivariate_normal(*dense_posterior(model, item)).logpdf(a)
        assert_mean_is(q.logpdf(a) - log_posterior, kl[i])
        assert_mean_is(log_joint(model, item, a) - q.logpdf(a), elbo[i])


def test_elbo_of_the_exact_posterior_is_the_evidence_and_of_others_less():
    model, x, guide = make_model(4, 2, seed=5), make_items(8, 4, seed=5), make_guide(8, 2, seed=5)
    evidence = model.log_evidence(x)
    np.testing.assert_allclose(model.expected_elbo(x, model.posterior(x)), evidence, rtol=1e-13)
    assert np.all(model.expected_elbo(x, guide) < evidence)


def test_family_gap_is_the_minimum_over_diagonal_gaussians():
    """BFGS on the textbook KL, from two starts; what it finds is the closed-form guide."""
    model, x = make_model(5, 3, seed=6), make_items(4, 5, seed=6)
    best, gap = model.best_diagonal(x), model.family_gap(x, "diagonal")
    assert np.all(best.scale_tril * (1 - np.eye(3)) == 0)
    for i, item in enumerate(x):
        exact = dense_posterior(model, item)
        for start in (np.zeros(6), np.full(6, 0.5)):
            found = optimize.minimize(
                lambda v, exact=exact: dense_kl(v[:3], np.diag(np.exp(2 * v[3:])), *exact),
                start,
                options={"gtol": 1e-7},
            )
            assert found.fun == pytest.approx(gap[i], abs=1e-10)
            np.testing.assert_allclose(found.x[:3], best.loc[i], atol=1e-5)
            np.testing.assert_allclose(np.exp(found.x[3:]), np.diag(best.scale_tril[i]), atol=1e-5)


def test_family_gap_is_what_the_best_diagonal_guide_misses():
    model, x = make_model(5, 3, seed=7), make_items(10, 5, seed=7)
    best, gap = model.best_diagonal(x), model.family_gap(x, "diagonal")
    np.testing.assert_allclose(model.kl_to_posterior(x, best), gap, rtol=1e-12, atol=1e-14)
    missed = model.log_evidence(x) - model.expected_elbo(x, best)
    np.testing.assert_allclose(missed, gap, rtol=1e-12, atol=1e-13)
    assert gap.max() > 0.1


def test_family_gaps_of_other_families_and_of_orthogonal_loadings():
    model, x = make_model(5, 3, seed=8), make_items(4, 5, seed=8)
    assert model.family_gap(x, "full").tolist() == [0, 0, 0, 0]
    with pytest.raises(InputError, match=r"'low-rank'.*'full' or 'diagonal'"):
        model.family_gap(x, "low-rank")
    orthogonal = LinearGaussian([[2, 0], [0, 3]], 1.0, [0.5, 0.7], scale=[1, 2])
    np.testing.assert_allclose(orthogonal.family_gap([[1, 2], [3, NAN]], "diagonal"), 0, atol=1e-15)
