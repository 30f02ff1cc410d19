"""Discrete sites of a Pyro model and guide: summed out, or by the score function."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X
from scipy.special import expit, logsumexp

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro.infer import config_enumerate  # noqa: E402
from record_pyro_programs import ran  # noqa: E402

from twinplate.records.record import Given  # noqa: E402


def test_enumeration_in_the_model_and_in_the_guide():
    weights, means = np.array([0.3, 0.7]), np.array([-1.0, 2.0])

    def model(x):
        with pyro.plate("data", 3):
            k = pyro.sample("k", dist.Categorical(torch.tensor(weights).to(x.dtype)))
            pyro.sample("x", dist.Normal(torch.tensor(means).to(x.dtype)[k], 1.0), obs=x)

    def guide(x):
        logits = pyro.param("logits", torch.zeros(3, 2))
        with pyro.plate("data", 3):
            pyro.sample("k", dist.Categorical(logits=logits))

    given = Given({"k": np.array([[0.0, 1.0, 1.0]])})
    joint = np.log(weights) + NORMAL(X[:, None], means, 1)
    for inner in (lambda x: None, config_enumerate(guide), config_enumerate(guide, "sequential")):
        run = ran(config_enumerate(model), given, X, guide=inner, loss="TraceEnum_ELBO")
        np.testing.assert_array_equal(run.model["k"].value, [[0, 1, 1]])
        assert run.model["k"].dtype == "int64"
        np.testing.assert_allclose(
            run.model["x"].log_prob, [joint[range(3), [0, 1, 1]] - np.log(weights)[[0, 1, 1]]]
        )
    np.testing.assert_allclose(run.loss, [-(joint / 2 - np.log(0.5) / 2).sum()])
    run = ran(config_enumerate(model), given, X, guide=lambda x: None, loss="TraceEnum_ELBO")
    np.testing.assert_allclose(run.loss, [-logsumexp(joint, axis=1).sum()])


@pytest.mark.parametrize("vectorize", [False, True])
def test_a_value_downstream_of_an_enumerated_site_is_the_same_in_every_case(vectorize):
    def guide(x):
        k = pyro.sample("k", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        pyro.sample("s", dist.Normal(k, 2.0))

    def model(x):
        k = pyro.sample("k", dist.Bernoulli(0.6))
        s = pyro.sample("s", dist.Normal(-k, 1.0))
        with pyro.plate("data", 3):
            pyro.sample("x", dist.Normal(s, 1.0), obs=x)

    s = np.array([0.4, -1.1])
    given = Given({"k": np.zeros(2), "s": s})
    settings = {"loss": "TraceEnum_ELBO", "particles": 2, "vectorize_particles": vectorize}
    run = ran(model, given, X, guide=guide, **settings)
    log_x = NORMAL(X, s[:, None]).sum(1)
    cases = [
        q * (np.log(p / q) + NORMAL(s, -k) - NORMAL(s, k, 2) + log_x)
        for k, q, p in ((0, 0.7, 0.4), (1, 0.3, 0.6))
    ]
    expected = -np.sum(cases, 0)
    np.testing.assert_allclose(run.loss, [expected.mean()] if vectorize else expected)


def test_a_score_function_gradient_is_the_frameworks_own():
    """Trace_ELBO of a Bernoulli guide: ∇ = -(log p - log q) ∇ log q, without the gradient of log q."""

    def model():
        pyro.sample("b", dist.Bernoulli(0.2))

    def guide():
        pyro.sample("b", dist.Bernoulli(logits=pyro.param("logit", torch.tensor(0.0))))

    run = ran(model, Given({"b": np.ones(1)}, parameters={"logit": np.array(0.4)}), guide=guide)
    q = expit(0.4)
    log_ratio = np.log(0.2) - np.log(q)
    np.testing.assert_allclose(run.loss, [-log_ratio])
    np.testing.assert_allclose(run.parameters["logit"].gradient, -log_ratio * (1 - q))
