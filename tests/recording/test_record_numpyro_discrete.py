"""Discrete sites of a NumPyro model and guide: summed out, or by the score function."""

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
from numpyro.contrib.control_flow import cond, scan  # noqa: E402
from numpyro.distributions import constraints  # noqa: E402
from record_numpyro_programs import LOCS, PROBS, K, mixture, ran, session  # noqa: E402

from twinplate.errors import InputError  # noqa: E402
from twinplate.records.record import Given  # noqa: E402


def test_enumerated_sites_are_recorded_as_given_and_summed_in_the_loss():
    pytest.importorskip("funsor")
    given = Given({"k": K.astype(float)})
    run = ran(mixture, given, X, guide=lambda x: None, loss="TraceEnum_ELBO")
    expected = -logsumexp(np.log(PROBS) + NORMAL(X[:, None], LOCS), axis=-1).sum()
    np.testing.assert_allclose(run.loss, [expected], rtol=1e-12)
    np.testing.assert_array_equal(run.model["k"].value, K)
    assert run.model["k"].batch_shape == (3,)
    np.testing.assert_allclose(run.model["x"].log_prob, NORMAL(X, LOCS[K]))


def test_enumeration_without_funsor_says_what_to_install(monkeypatch):
    monkeypatch.setattr("numpyro_impl.recording.program.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install funsor"):
        session(mixture, lambda x: None, loss="TraceEnum_ELBO")


def test_a_markov_chain_is_summed():
    funsor = pytest.importorskip("numpyro.contrib.funsor")
    transition = np.array([[0.9, 0.1], [0.3, 0.7]])

    def model(x):
        z = 0
        for t in funsor.markov(range(3)):
            row = jnp.array(transition)[z]
            z = numpyro.sample(f"z{t}", dist.Categorical(row), infer={"enumerate": "parallel"})
            numpyro.sample(f"x{t}", dist.Normal(jnp.array(LOCS)[z], 1.0), obs=x[t])

    draws = {f"z{t}": np.array([t % 2]) for t in range(3)}
    run = ran(model, Given(draws), X, guide=lambda x: None, loss="TraceEnum_ELBO")
    paths = []
    for path in np.ndindex(2, 2, 2):
        steps = zip((0, *path), path, strict=False)
        prior = sum(np.log(transition[a, b]) for a, b in steps)
        paths.append(prior + NORMAL(X, LOCS[list(path)]).sum())
    np.testing.assert_allclose(run.loss, [-logsumexp(paths)], rtol=1e-12)
    assert run.model["z1"].value == [1]


@pytest.mark.parametrize("dtype", [jnp.int32, int])
def test_a_chain_in_a_scan_starts_with_whole_numbers_of_either_size(dtype):
    """With int32 by name, as programs for single precision have it, and with the default type."""
    pytest.importorskip("funsor")
    transition = np.array([[0.9, 0.1], [0.3, 0.7]])

    def model(x):
        def step(z, x):
            row = jnp.array(transition)[z]
            z = numpyro.sample("z", dist.Categorical(row), infer={"enumerate": "parallel"})
            numpyro.sample("x", dist.Normal(jnp.array(LOCS)[z], 1.0), obs=x)
            return z, None

        scan(step, jnp.zeros((), dtype), x)

    forward, densities = np.log(transition[0]), NORMAL(X[:, None], LOCS[:2])
    for density in densities[:-1]:
        forward = logsumexp((forward + density)[:, None] + np.log(transition), axis=0)
    run = ran(model, Given({"z": np.array([[0, 1, 1]])}), X)
    np.testing.assert_allclose(run.loss, [-logsumexp(forward + densities[-1])], rtol=1e-12)


def test_branches_of_cond_give_whole_numbers_of_either_size():
    def model(x):
        b = cond(x[0] > 9.0, lambda x: x.astype(int), lambda x: jnp.int32(2), x[1])
        numpyro.sample("x", dist.Normal(b, 1.0), obs=x[2])

    run = ran(model, Given(), X, guide=lambda x: None)
    np.testing.assert_allclose(run.loss, [-NORMAL(X[2], 2.0)], rtol=1e-12)


def bernoulli(x):
    b = numpyro.sample("b", dist.Bernoulli(0.3))
    numpyro.sample("x", dist.Normal(2.0 * b, 1.0), obs=x)


def bernoulli_guide(x):
    q = numpyro.param("q", 0.6, constraint=constraints.unit_interval)
    numpyro.sample("b", dist.Bernoulli(q))


@pytest.mark.parametrize("b", [0, 1])
def test_the_score_function_of_a_discrete_guide(b):
    q, x = 0.6, 0.8
    given = Given({"b": np.array([float(b)])}, {}, {"q": np.array(q)})
    run = ran(bernoulli, given, x, guide=bernoulli_guide, loss="TraceGraph_ELBO")
    cost = stats.bernoulli.logpmf(b, q) - stats.bernoulli.logpmf(b, 0.3) - NORMAL(x, 2 * b)
    np.testing.assert_allclose(run.loss, [cost], rtol=1e-12)
    score = b * (1 - q) - (1 - b) * q  # of log q(b) in the logit of q
    np.testing.assert_allclose(run.parameters["q"].gradient, cost * score, rtol=1e-10)
    assert run.guide["b"].dtype.startswith("int")
