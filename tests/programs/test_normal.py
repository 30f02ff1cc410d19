"""The multivariate normals that remember their base noise, against SciPy and the stock families."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from normals import (
    SIZES,
    covariance,
    families,
    is_packed,
    make,
    natives,
    numbers,
    scipy_log_prob,
    sizes,
)
from twins import both_twins

SHAPES = [((), ()), ((5,), ()), ((2, 3), (6,))]


@both_twins(
    "family, k, r, batch, sample_shape",
    [(*size, *shapes) for size in SIZES for shapes in SHAPES],
    quick=[(*size, *SHAPES[i % 3]) for i, size in enumerate(SIZES)],
)
def test_density_of_the_own_draw_is_scipys(twin, no_solve, family, k, r, batch, sample_shape):
    parameters = numbers(family, k, r, batch)
    value, log_prob = twin.draw(make(twin.impl, natives(twin, parameters)), sample_shape)
    assert value.shape == (*sample_shape, *batch, k)
    expected = scipy_log_prob(parameters, twin.numpy(value))
    assert log_prob.shape == expected.shape
    np.testing.assert_allclose(twin.numpy(log_prob), expected, rtol=1e-11, atol=1e-11)


@families
def test_density_of_the_own_draw_is_the_stock_one(twin, family):
    parameters = natives(twin, numbers(family, batch=(5,)))
    value, log_prob = twin.draw(make(twin.impl, parameters))
    stock = twin.numpy(make(twin.dist, parameters).log_prob(value))
    np.testing.assert_allclose(twin.numpy(log_prob), stock, rtol=1e-11, atol=1e-11)


@sizes
def test_other_values_have_the_stock_density(twin, family, k, r):
    """To the bit where it is the stock one that is asked."""
    parameters = natives(twin, numbers(family, k, r, (5,)))
    ours, stock = make(twin.impl, parameters), make(twin.dist, parameters)
    draw, _ = twin.draw(ours)
    for value in (draw + 0.5, draw * 1.0):
        given, wanted = twin.numpy(ours.log_prob(value)), twin.numpy(stock.log_prob(value))
        tolerance = 1e-12 if is_packed(parameters) else 0
        np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=tolerance)


@sizes
def test_the_draw_is_affine_in_the_noise(twin, family, k, r):
    parameters = numbers(family, k, r, (5,))
    ours = make(twin.impl, natives(twin, parameters))
    assert ours.noise_size == k + (r or 0)
    noise = np.random.default_rng(1).normal(size=(5, ours.noise_size))
    if family != "low-rank":
        step = np.linalg.cholesky(covariance(parameters)) * np.ones((5, 1, 1))
    else:
        root = np.sqrt(parameters[2])[..., None] * np.eye(k)
        step = np.concatenate([root, parameters[1]], -1)
    expected = parameters[0] + np.einsum("nij,nj->ni", step, noise)
    value = twin.numpy(ours.from_noise(twin.array(noise)))
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@both_twins(
    "family, k, r", SIZES, quick=[size for size in SIZES if size[1:] in ((4, None), (4, 2))]
)
def test_gradients_are_those_of_the_stock_density_at_the_reparameterised_value(twin, family, k, r):
    parameters = natives(twin, numbers(family, k, r, (3,)))
    noise = twin.array(np.random.default_rng(1).normal(size=(3, k + (r or 0))))
    lower = twin.array(np.tril(np.ones((k, k))))

    def proper(parameters):
        # Only the lower triangle is a parameter; above it the two densities need not agree.
        return [parameters[0], parameters[1] * lower] if family == "full" else list(parameters)

    def ours(*parameters):
        return (twin.drawn_from(make(twin.impl, proper(parameters)), noise)[1] ** 2).sum()

    def stock(*parameters):
        value = make(twin.impl, proper(parameters)).from_noise(noise)
        return (make(twin.dist, proper(parameters)).log_prob(value) ** 2).sum()

    for got, expected in zip(
        twin.gradients(ours, *parameters), twin.gradients(stock, *parameters), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@families
def test_moments_of_many_draws(twin, family):
    """200,000 draws: every mean and covariance within 5.5 standard errors of the exact one.

    With correct code one of the 14 statistics fails with probability 6e-7 (5.5 sigma, two-sided); the
    seed is fixed. The standard error of a covariance is √((ΣᵢᵢΣⱼⱼ + Σᵢⱼ²) / n).
    """
    parameters, n = numbers(family), 200_000
    exact = covariance(parameters)
    value = twin.numpy(twin.draw(make(twin.impl, natives(twin, parameters)), (n,))[0])
    variance = np.diag(exact)
    z_mean = (value.mean(0) - parameters[0]) / np.sqrt(variance / n)
    z_cov = (np.cov(value.T) - exact) / np.sqrt((np.outer(variance, variance) + exact**2) / n)
    assert np.abs(z_mean).max() < 5.5 and np.abs(z_cov).max() < 5.5


@sizes
def test_moments_and_entropy_are_exact(twin, family, k, r):
    parameters = numbers(family, k, r, (5,))
    ours, exact = make(twin.impl, natives(twin, parameters)), covariance(parameters)
    close = lambda given, wanted: np.testing.assert_allclose(
        twin.numpy(given), wanted, rtol=1e-12, atol=1e-12
    )
    close(ours.mean, parameters[0])
    close(ours.variance, np.diagonal(exact, axis1=-2, axis2=-1))
    close(ours.covariance_matrix, exact)
    close(ours.scale_tril, np.linalg.cholesky(exact))
    close(ours.entropy(), [scipy.stats.multivariate_normal(cov=c).entropy() for c in exact])


@both_twins(
    "family, k, r, batch",
    [(*size, batch) for size in SIZES for batch in ((), (5,))],
    quick=[(*size, ((), (5,))[i % 2]) for i, size in enumerate(SIZES)],
)
def test_the_score_is_the_gradient_of_the_density_in_the_value(twin, family, k, r, batch):
    """-Σ⁻¹ (value - loc), from the noise."""
    parameters = numbers(family, k, r, batch)
    noise = np.random.default_rng(1).normal(size=(3, *batch, k + (r or 0)))
    ours = make(twin.impl, natives(twin, parameters))
    value = twin.numpy(ours.from_noise(twin.array(noise)))
    expected = -np.linalg.solve(covariance(parameters), (value - parameters[0])[..., None])[..., 0]
    score = twin.numpy(ours.score(twin.array(noise)))
    np.testing.assert_allclose(score, expected, rtol=1e-9, atol=1e-9)


def test_the_constant_is_that_of_one_standard_normal(twin):
    ours = make(twin.impl, natives(twin, [np.zeros(1), np.ones((1, 1))]))
    _, log_prob = twin.drawn_from(ours, twin.array(np.zeros(1)))
    assert float(log_prob) == pytest.approx(-0.5 * math.log(2 * math.pi), rel=1e-15)


@families
def test_mean_field_elbos_take_the_divergence_from_a_normal_in_closed_form(twin, family):
    """In a plate, whose guide has a parameter for every item or one for all; SciPy's entropies."""
    for batch in ((5,), ()):
        parameters = numbers(family, batch=batch)
        mean, scale = np.array([0.3, -1.0, 0.0, 2.0]), np.array([0.5, 1.0, 2.0, 1.5])
        loss = mean_field_loss(twin, parameters, mean, scale)
        loc = np.broadcast_to(parameters[0], (5, 4))
        cov = np.broadcast_to(covariance(parameters), (5, 4, 4))
        variances = np.diagonal(cov, 0, 1, 2)
        cross = -scipy.stats.norm.logpdf(loc, mean, scale) + variances / scale**2 / 2
        entropies = sum(scipy.stats.multivariate_normal.entropy(cov=c) for c in cov)
        assert loss == pytest.approx(cross.sum() - entropies, rel=1e-11)


def mean_field_loss(twin, parameters, mean, scale):
    framework, dist = twin.framework, twin.dist

    def model():
        with framework.plate("items", 5):
            prior = dist.Normal(twin.array(mean), twin.array(scale)).to_event(1)
            framework.sample("z", prior)

    def guide():
        with framework.plate("items", 5):
            framework.sample("z", make(twin.impl, natives(twin, parameters)))

    elbo = framework.infer.TraceMeanField_ELBO()
    if twin.name == "pyro":
        return elbo.loss(model, guide)
    return float(elbo.loss(twin.jax.random.key(0), {}, model, guide))
