"""Losses and gradients of a Pyro model and guide without discrete sites, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro import poutine  # noqa: E402
from record_pyro_programs import Z, local_guide, local_model, ran, session  # noqa: E402

from twinplate.records.record import Given  # noqa: E402

LOC, STD = np.array([0.1, -0.2, 0.3]), np.array(0.8)
LOCAL = Given({"z": Z}, parameters={"loc": LOC, "scale": STD})


def local_loss(z, loc=LOC, std=STD):
    return -(NORMAL(z) + NORMAL(X, z, 0.5) - NORMAL(z, loc, std)).sum(-1)


def local_gradients(z):
    """Of the mean loss in loc and log scale, the noise fixed."""
    noise = (z - LOC) / STD
    slope = z + (z - X) / 0.25  # of the model's part in z
    return slope.mean(0), (slope * noise * STD - 1).sum(-1).mean()


def test_vectorised_particles_with_sites_in_different_plates():
    s, z = np.array([0.7, 1.9]), np.array([[[0.1, 0.2, -0.3]] * 2, [[0.5, -1.0, 1.5]] * 2])

    def model(x):
        s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
        w = pyro.sample("w", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("rows", 2, dim=-2), pyro.plate("data", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z * w[..., 0], s), obs=x)

    given = Given({"s": s, "w": np.array([[0.2, 0.8], [0.5, 0.5]]), "z": z})
    guide = poutine.block(model, hide=["x"])
    run = ran(model, given, X, guide=guide, particles=2, vectorize_particles=True)
    mean = z * np.array([0.2, 0.5])[:, None, None]
    expected = -NORMAL(X, mean, s[:, None, None]).sum((1, 2)).mean()
    np.testing.assert_allclose(run.loss, [expected])


def test_every_run_starts_with_clean_gradients():
    one = session(local_model, local_guide, particles=2)
    first, second = (one.run(LOCAL, (X,), {}).parameters for _ in range(2))
    for name, parameter in first.items():
        assert np.array_equal(parameter.gradient, second[name].gradient)


def test_rounding_out_of_the_support_does_not_stop_single_precision():
    def model():
        pyro.sample("s", dist.LogNormal(0.0, 1.0))

    run = ran(model, Given({"s": np.array([1e-60])}), guide=model, precision="float32")
    np.testing.assert_array_equal(run.model["s"].value, [0])


@pytest.mark.parametrize("loss", ["Trace_ELBO", "TraceGraph_ELBO", "TraceEnum_ELBO"])
@pytest.mark.parametrize("vectorize", [False, True])
def test_losses_and_gradients_of_particles(loss, vectorize):
    run = ran(
        local_model,
        LOCAL,
        X,
        guide=local_guide,
        loss=loss,
        particles=2,
        vectorize_particles=vectorize,
    )
    expected = local_loss(Z)
    np.testing.assert_allclose(run.loss, [expected.mean()] if vectorize else expected, rtol=1e-14)
    gradients = local_gradients(Z)
    np.testing.assert_allclose(run.parameters["loc"].gradient, gradients[0], rtol=1e-13)
    np.testing.assert_allclose(run.parameters["scale"].gradient, gradients[1], rtol=1e-13)
    assert np.array_equal(run.guide["z"].value, Z)
    assert np.array_equal(run.model["z"].value, Z)
    assert run.parameters["scale"].constraint == "positive"


@pytest.mark.parametrize("vectorize", [False, True])
def test_renyis_bound_is_of_all_particles_of_an_item(vectorize):
    run = ran(
        local_model, LOCAL, X, guide=local_guide, loss="RenyiELBO", alpha=0.4, particles=2,
        vectorize_particles=vectorize,
    )  # fmt: skip
    weights = np.exp(0.6 * (NORMAL(Z) + NORMAL(X, Z, 0.5) - NORMAL(Z, LOC, STD)))  # (P, 3)
    np.testing.assert_allclose(run.loss, [-np.log(weights.mean(0)).sum() / 0.6], rtol=1e-13)
    slope = Z + (Z - X) / 0.25
    loc = (weights / weights.sum(0) * slope).sum(0)
    np.testing.assert_allclose(run.parameters["loc"].gradient, loc, rtol=1e-12)


def test_mean_field_elbo_takes_its_analytic_divergence():
    run = ran(local_model, LOCAL, X, guide=local_guide, loss="TraceMeanField_ELBO", particles=2)
    divergence = (STD**2 + LOC**2 - 1) / 2 - np.log(STD)
    np.testing.assert_allclose(run.loss, (divergence - NORMAL(X, Z, 0.5)).sum(-1), rtol=1e-14)


def test_single_precision_is_single_precision():
    run = ran(local_model, LOCAL, X, guide=local_guide, precision="float32", particles=2)
    assert run.guide["z"].value.dtype == np.float32
    assert run.parameters["loc"].gradient.dtype == np.float32
    np.testing.assert_allclose(run.loss, local_loss(Z), rtol=1e-6)


def test_given_subsamples_and_the_handlers_scale():
    indices = np.array([4, 1, 7])
    data = np.arange(8.0)

    def model(x):
        with pyro.plate("data", 8, subsample_size=3) as i:
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(x[i], 1.0), obs=x[i] + 1)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(8))
        with pyro.plate("data", 8, subsample_size=3) as i:
            pyro.sample("z", dist.Normal(loc[i], 1.0))

    run = ran(model, Given({"z": Z[:1]}, {"data": indices}), data, guide=guide)
    np.testing.assert_array_equal(run.model["x"].value, [data[indices] + 1])
    np.testing.assert_allclose(run.loss, [-8 / 3 * 3 * NORMAL(1.0)])
    gradient = np.zeros(8)
    gradient[indices] = 8 / 3 * Z[0]
    np.testing.assert_allclose(run.parameters["loc"].gradient, gradient)
