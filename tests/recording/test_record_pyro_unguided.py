"""A Pyro model without a guide: its loss is the potential energy in unconstrained space."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X
from scipy import stats
from scipy.special import logsumexp

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro import poutine  # noqa: E402
from record_pyro_programs import ran, sampled, session  # noqa: E402

from twinplate.records.record import Given  # noqa: E402


def test_potential_energy_and_its_gradient():
    """s ~ HalfNormal in log space and x ~ Normal(m, s): closed form in (log s, m)."""

    def model(x):
        s = pyro.sample("s", dist.HalfNormal(2.0))
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 3), poutine.scale(scale=2.0):
            pyro.sample("x", dist.Normal(m, s), obs=x)

    s, m = np.array([1.5, 0.4]), np.array([0.3, -0.7])
    run = ran(model, Given({"s": s, "m": m}), X, particles=2)
    rest = (X - m[:, None]) / s[:, None]
    expected = -stats.halfnorm.logpdf(s, scale=2) - np.log(s) - NORMAL(m)
    expected -= 2 * NORMAL(X, m[:, None], s[:, None]).sum(1)
    np.testing.assert_allclose(run.loss, expected)
    slopes = {"s": s**2 / 4 - 1 + 2 * (1 - rest**2).sum(1), "m": m - 2 * (rest.sum(1) / s)}
    for name, values in (("s", np.log(s)), ("m", m)):
        assert run.parameters[name].constraint == "unconstrained"
        np.testing.assert_allclose(run.parameters[name].value, values)
        np.testing.assert_allclose(run.parameters[name].gradient, slopes[name] / 2)


def test_an_angle_moves_on_the_circle():
    """With a map from the real line as in NumPyro; a von Mises density is that of a normal in the cosine."""

    def model():
        pyro.sample("m", dist.VonMises(0.4, 2.0))

    m = np.array([2.5, -3.0])
    run = ran(model, Given({"m": m}), particles=2)
    assert run.model["m"].support == "circular"
    share = (m + np.pi) / (2 * np.pi)
    expected = -stats.vonmises.logpdf(m, 2.0, loc=0.4) - np.log(2 * np.pi * share * (1 - share))
    np.testing.assert_allclose(
        run.loss, expected, rtol=1e-7
    )  # Pyro's Bessel functions: single precision
    np.testing.assert_allclose(run.parameters["m"].value, np.log(share / (1 - share)))
    slope = 2 * np.sin(m - 0.4) * 2 * np.pi * share * (1 - share) - (1 - 2 * share)
    np.testing.assert_allclose(run.parameters["m"].gradient, slope / 2)


def test_batch_dims_outside_of_plates_are_taken_as_samplers_take_them():
    def model(x):
        m = pyro.sample("m", dist.Normal(torch.zeros(3), 1.0))
        pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    m = np.array([[0.2, 0.3, -0.4]])
    run = ran(model, Given({"m": m}), X)
    np.testing.assert_allclose(run.loss, [-NORMAL(m).sum() - NORMAL(X, m).sum()])
    np.testing.assert_allclose(run.parameters["m"].gradient, 2 * m - X)

    def summed(x):
        k = pyro.sample("k", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(k, torch.ones(3)), obs=x)

    failure = session(summed).run(Given({"k": np.ones(1)}), (X,), {}).failure
    assert failure.site == "x" and "invalid log_prob shape" in failure.error


def test_a_flat_prior_is_drawn_as_samplers_start():
    """Uniform on (-2, 2) in unconstrained space, where the Jacobian is all that a flat prior adds."""
    positive = dist.constraints.independent(dist.constraints.positive, 1)

    def model(x):
        m = pyro.sample("m", dist.ImproperUniform(positive, torch.Size(), torch.Size([2])))
        with pyro.plate("data", 3):
            pyro.sample("x", dist.Normal(m.sum(), 1.0), obs=x)

    m = sampled(model, X).model["m"].value
    assert (np.abs(np.log(m)) < 2).all() and m.shape == (1, 2)
    run = ran(model, Given({"m": m}), X)
    np.testing.assert_allclose(run.loss, [-NORMAL(X, m.sum()).sum() - np.log(m).sum()])


def test_discrete_latents_are_summed_out_of_the_potential():
    def model(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 3):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(m + k, 1.0), obs=x)

    given = Given({"m": np.array([0.2]), "k": np.ones((1, 3))})
    run = ran(model, given, X)
    terms = np.stack([np.log(0.7) + NORMAL(X, 0.2), np.log(0.3) + NORMAL(X, 1.2)])
    np.testing.assert_allclose(run.loss, [-NORMAL(0.2) - logsumexp(terms, 0).sum()])
    assert set(run.parameters) == {"m"}


def test_markov_chains():
    def model(x):
        z = x.new_zeros(())
        for i in pyro.markov(range(3)):
            z = pyro.sample(f"z{i}", dist.Normal(z, 1.0))
            pyro.sample(f"x{i}", dist.Normal(z, 1.0), obs=x[i])

    z = np.array([0.1, -0.4, 0.9])
    run = ran(model, Given({f"z{i}": z[i : i + 1] for i in range(3)}), X)
    expected = NORMAL(np.diff(z, prepend=0)).sum() + NORMAL(X - z).sum()
    np.testing.assert_allclose(run.loss, [-expected])
    np.testing.assert_allclose(run.model["z2"].log_prob, [NORMAL(0.9, -0.4)])
