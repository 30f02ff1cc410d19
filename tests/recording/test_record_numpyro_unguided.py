"""A NumPyro model without a guide: its loss is the potential energy in unconstrained space."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X
from scipy import stats
from scipy.special import logsumexp

pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from numpyro.contrib.control_flow import scan  # noqa: E402
from numpyro.distributions import constraints  # noqa: E402
from record_numpyro_programs import LOCS, PROBS, K, Z, mixture, ran, sampled  # noqa: E402

from twinplate.records.record import Given  # noqa: E402


def conjugate(x):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 3.0))
    p = numpyro.sample("p", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    with numpyro.plate("data", 3):
        numpyro.sample("x", dist.Exponential(rate * p[0]), obs=x)


def test_without_a_guide_the_loss_is_the_potential_energy():
    x, rate, p = np.abs(X), np.array([0.7, 1.8]), np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    run = ran(conjugate, Given({"rate": rate, "p": p}), x, particles=2)

    def potential(rate, p):
        density = stats.gamma.logpdf(rate, 2, scale=1 / 3) + stats.dirichlet.logpdf(p, [1, 2, 3])
        density += stats.expon.logpdf(x, scale=1 / (rate * p[0])).sum() + np.log(rate)
        sticks = p[0] * (1 - p[0]) * p[1] * (1 - p[0] - p[1]) / (1 - p[0])
        return -(density + np.log(sticks))

    np.testing.assert_allclose(run.loss, [potential(*at) for at in zip(rate, p, strict=True)])
    u = run.parameters["rate"]
    assert u.constraint == "unconstrained"
    np.testing.assert_allclose(u.value, np.log(rate))
    # d/du of -(2 + 3) u + 3 rate + rate p₀ Σx, with 2 - 1 from the prior, 3 data, 1 from the Jacobian
    expected = (-5 + 3 * rate + rate * p[:, 0] * x.sum()) / 2
    np.testing.assert_allclose(u.gradient, expected, rtol=1e-12)
    assert run.parameters["p"].value.shape == (2, 2)
    sticks = np.log(p[:, 0] / (1 - p[:, 0])) + np.log(
        2
    )  # the origin of its coordinates is the uniform simplex
    np.testing.assert_allclose(run.parameters["p"].value[:, 0], sticks, rtol=1e-12)


def test_without_a_guide_discrete_latents_are_summed():
    pytest.importorskip("funsor")
    run = ran(mixture, Given({"k": K}), X)
    expected = -logsumexp(np.log(PROBS) + NORMAL(X[:, None], LOCS), axis=-1).sum()
    np.testing.assert_allclose(run.loss, [expected], rtol=1e-12)
    assert run.parameters == {}


def test_without_a_guide_subsamples_are_given_and_a_delta_is_no_coordinate():
    def model(x):
        shift = numpyro.sample("shift", dist.Delta(0.5))
        with numpyro.plate("data", 3, subsample_size=2) as i:
            numpyro.sample("x", dist.Normal(shift, 1.0), obs=x[i])

    run = ran(model, Given({"shift": Z[:1]}, {"data": np.array([0, 2])}), X)
    np.testing.assert_allclose(run.loss, [-1.5 * NORMAL(X[[0, 2]], 0.5).sum()], rtol=1e-12)
    assert run.parameters == {}


def test_a_flat_prior_is_drawn_as_samplers_start_and_in_a_scan_too():
    """Uniform on (-2, 2) in unconstrained space, where the Jacobian is all that a flat prior adds."""

    def model(x):
        m = numpyro.sample("m", dist.ImproperUniform(constraints.positive, (), (2,)))

        def step(z, y):
            z = numpyro.sample("z", dist.ImproperUniform(constraints.real, (), ()))
            return z, numpyro.sample("x", dist.Normal(z + m.sum(), 1.0), obs=y)

        scan(step, 0.0, x)

    drawn = sampled(model, X).model
    assert (np.abs(np.log(drawn["m"].value)) < 2).all()
    assert (np.abs(drawn["z"].value) < 2).all() and len(set(drawn["z"].value.ravel())) == 3
    given = {name: drawn[name].value for name in "mz"}
    run = ran(model, Given(given), X)
    expected = -NORMAL(X, given["z"] + given["m"].sum()).sum() - np.log(given["m"]).sum()
    np.testing.assert_allclose(run.loss, [expected])


def test_without_a_guide_a_scan_and_a_parameter():
    def model(x):
        scale = numpyro.param("scale", 1.5, constraint=constraints.positive)

        def step(z, x):
            z = numpyro.sample("z", dist.Normal(z, scale))
            numpyro.sample("x", dist.Normal(z, 1.0), obs=x)
            return z, z

        scan(step, 0.0, x)

    z = np.array([[0.3, 0.7, -0.2]])
    run = ran(model, Given({"z": z}), X)
    steps = z[0] - [0.0, 0.3, 0.7]
    np.testing.assert_allclose(run.loss, [-NORMAL(steps, 0, 1.5).sum() - NORMAL(X, z[0]).sum()])
    np.testing.assert_allclose(run.parameters["scale"].gradient, 3 - np.sum(steps**2) / 1.5**2)
    pulls = steps / 1.5**2
    expected = pulls - [*pulls[1:], 0] - (X - z[0])
    np.testing.assert_allclose(run.parameters["z"].gradient, [expected], rtol=1e-12)
