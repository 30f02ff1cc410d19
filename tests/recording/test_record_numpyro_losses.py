"""Losses and gradients of a NumPyro model and guide without discrete sites, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X, numeric

pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from numpyro.contrib.control_flow import scan  # noqa: E402
from numpyro.distributions import constraints  # noqa: E402
from record_numpyro_programs import GIVEN, Z, gaussian, gaussian_guide, ran, session  # noqa: E402

from twinplate.records.record import Given, Plate  # noqa: E402


def gaussian_loss(z):
    """Loss of one particle, its derivatives in loc and in the logarithm of the scale."""
    loss = NORMAL(z, 0.2, 0.6) - NORMAL(z, 0, 2) - NORMAL(X, z).sum()
    slope = z / 4 + np.sum(z - X)  # of -log p(x, z); log q has none but its -log scale
    return loss, slope, slope * (z - 0.2) - 1


@pytest.mark.parametrize("vectorize", [False, True])
def test_loss_and_gradient_of_particles(vectorize):
    run = ran(gaussian, GIVEN, X, guide=gaussian_guide, particles=2, vectorize_particles=vectorize)
    losses, loc, log_scale = np.transpose([gaussian_loss(z) for z in Z])
    np.testing.assert_allclose(run.loss, [losses.mean()] if vectorize else losses, rtol=1e-12)
    np.testing.assert_allclose(run.parameters["loc"].gradient, loc.mean(), rtol=1e-12)
    np.testing.assert_allclose(run.parameters["scale"].gradient, log_scale.mean(), rtol=1e-12)
    np.testing.assert_array_equal(run.model["z"].value, Z)
    np.testing.assert_array_equal(run.guide["z"].value, Z)
    np.testing.assert_allclose(run.guide["z"].log_prob, NORMAL(Z, 0.2, 0.6))
    np.testing.assert_allclose(run.model["x"].log_prob, NORMAL(X, Z[:, None]))


@pytest.mark.parametrize("vectorize", [False, True])
def test_renyis_bound_is_of_all_particles(vectorize):
    run = ran(
        gaussian, GIVEN, X, guide=gaussian_guide, loss="RenyiELBO", alpha=0.4, particles=2,
        vectorize_particles=vectorize,
    )  # fmt: skip
    losses, loc, _ = np.transpose([gaussian_loss(z) for z in Z])
    weights = np.exp(-0.6 * losses)
    np.testing.assert_allclose(run.loss, [-np.log(weights.mean()) / 0.6], rtol=1e-12)
    expected = (weights / weights.sum() * loc).sum()
    np.testing.assert_allclose(run.parameters["loc"].gradient, expected, rtol=1e-12)


def test_particles_of_one():
    given = Given({"z": Z[:1]}, {}, GIVEN.parameters)
    for vectorize in (False, True):
        run = ran(gaussian, given, X, guide=gaussian_guide, vectorize_particles=vectorize)
        np.testing.assert_allclose(run.loss, [gaussian_loss(Z[0])[0]], rtol=1e-12)


def test_mean_field_takes_the_divergence_in_closed_form():
    given = Given({"z": Z[:1]}, {}, GIVEN.parameters)
    run = ran(gaussian, given, X, guide=gaussian_guide, loss="TraceMeanField_ELBO")
    divergence = np.log(2 / 0.6) + (0.6**2 + 0.2**2) / (2 * 4) - 0.5
    np.testing.assert_allclose(run.loss, [divergence - NORMAL(X, Z[0]).sum()], rtol=1e-12)


def test_single_precision():
    def model(x, one):
        gaussian(x)
        numpyro.deterministic("default", jnp.ones(()))
        numpyro.deterministic("whole", one)

    def guide(x, one):
        gaussian_guide(x)

    whole = np.array(1)
    run = ran(model, GIVEN, X, whole, guide=guide, particles=2, precision="float32")
    assert (run.model["default"].dtype, run.model["whole"].dtype) == ("float32", "int32")
    assert run.loss.dtype == run.model["z"].value.dtype == np.float32
    np.testing.assert_allclose(run.loss, [gaussian_loss(z)[0] for z in Z], rtol=1e-5)


def test_draws_and_first_parameters_are_reported_by_sample():
    opened = session(gaussian, gaussian_guide, particles=3)
    first, again, other = (opened.sample(seed, Given(), (X,), {}) for seed in (0, 0, 1))
    assert first.loss is None
    assert first.parameters["loc"].value == 0.5
    assert first.parameters["scale"].constraint == "positive"
    assert first.parameters["scale"].gradient is None
    np.testing.assert_array_equal(first.guide["z"].value, again.guide["z"].value)
    assert len({*first.guide["z"].value, *other.guide["z"].value}) == 6
    moved = opened.sample(0, Given(parameters={"loc": np.array(1.5)}), (X,), {})
    np.testing.assert_allclose(moved.guide["z"].value, first.guide["z"].value + 1)


def test_subsamples_are_given():
    def model(x):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        with numpyro.plate("data", 3, subsample_size=2) as i:
            numpyro.sample("x", dist.Normal(z, 1.0), obs=x[i])

    def guide(x):
        numpyro.sample("z", dist.Normal(0.0, 1.0))

    run = ran(model, Given({"z": Z[:1]}, {"data": np.array([0, 2])}), X, guide=guide)
    np.testing.assert_array_equal(run.model["x"].value, [X[[0, 2]]])
    np.testing.assert_allclose(run.loss, [-1.5 * NORMAL(X[[0, 2]], Z[0]).sum()], rtol=1e-12)
    assert run.model["x"].plates == (Plate("data", -1, 3, 2),)


def test_a_parameter_is_subsampled_with_its_plate():
    def model(x):
        with numpyro.plate("data", 3, subsample_size=2):
            loc = numpyro.param("loc", jnp.zeros(3), event_dim=0)
            numpyro.sample("x", dist.Normal(loc, 1.0), obs=numpyro.subsample(x, event_dim=0))

    run = ran(model, Given({}, {"data": np.array([0, 2])}), X, guide=lambda x: None)
    assert run.parameters["loc"].value.shape == (3,)
    expected = -1.5 * X * np.array([1, 0, 1])
    np.testing.assert_allclose(run.parameters["loc"].gradient, expected, rtol=1e-12)


def walk(x):
    def step(z, x):
        z = numpyro.sample("z", dist.Normal(z, 1.0))
        with numpyro.plate("ends", 2):
            numpyro.sample("x", dist.Normal(z, 0.5), obs=x)
        return z, z

    scan(step, 0.0, x)


def walk_guide(x):
    scale = numpyro.param("scale", 0.3, constraint=constraints.positive)

    def step(z, x):
        z = numpyro.sample("z", dist.Normal(0.5 * z, scale))
        return z, z

    scan(step, 0.0, x)


def test_draws_reach_inside_a_scan():
    z, x = np.array([[0.3, 0.7, -0.2]]), np.stack([X, -X], axis=1)
    run = ran(walk, Given({"z": z}), x, guide=walk_guide)
    before = np.array([0.0, *z[0, :-1]])
    np.testing.assert_array_equal(run.model["z"].value, z)
    np.testing.assert_array_equal(run.guide["z"].value, z)
    assert run.model["x"].batch_shape == (3, 2)
    assert run.model["x"].plates == (Plate("ends", -1, 2, 2),)
    np.testing.assert_allclose(run.model["z"].log_prob, [NORMAL(z[0], before)], rtol=1e-12)
    np.testing.assert_allclose(run.guide["z"].log_prob, [NORMAL(z[0], before / 2, 0.3)], rtol=1e-12)
    loss = NORMAL(z[0], before / 2, 0.3).sum() - NORMAL(z[0], before).sum()
    loss -= NORMAL(x, z[0][:, None], 0.5).sum()
    np.testing.assert_allclose(run.loss, [loss], rtol=1e-12)

    def path(log_scale):  # the loss at fixed noise
        noise = (z[0] - before / 2) / 0.3
        scale, moved = np.exp(log_scale), [0.0]
        for e in noise:
            moved.append(moved[-1] / 2 + scale * e)
        here, before_ = np.array(moved[1:]), np.array(moved[:-1])
        q = NORMAL(here, before_ / 2, scale).sum()
        return q - NORMAL(here, before_).sum() - NORMAL(x, here[:, None], 0.5).sum()

    (expected,) = numeric(path, np.array(np.log(0.3)))
    np.testing.assert_allclose(run.parameters["scale"].gradient, expected, rtol=1e-6)
