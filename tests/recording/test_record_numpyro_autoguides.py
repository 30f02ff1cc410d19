"""NumPyro's autoguides as guides of a record, against closed forms; a reparameterised model."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X, numeric
from scipy import stats

pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from numpyro import handlers  # noqa: E402
from numpyro.infer import autoguide  # noqa: E402
from numpyro.infer.reparam import LocScaleReparam  # noqa: E402
from record_numpyro_programs import Z, ran, sampled, session  # noqa: E402

from twinplate.records.record import Given  # noqa: E402


def two_latents(x):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    s = numpyro.sample("s", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("data", 3):
        numpyro.sample("x", dist.Normal(a, s), obs=x)


def log_joint(a, s):
    return NORMAL(a) + stats.lognorm.logpdf(s, 1) + NORMAL(X, a, s).sum()


def at(run, names="as"):
    return (run.model[name].value[0] for name in names)


def test_autonormal():
    parameters = {"a_auto_loc": 0.3, "a_auto_scale": 0.5, "s_auto_loc": -0.2, "s_auto_scale": 0.4}
    a, s = 0.7, 1.3
    given = Given(
        {"a": np.array([a]), "s": np.array([s])},
        {},
        {name: np.array(value) for name, value in parameters.items()},
    )
    run = ran(two_latents, given, X, guide=autoguide.AutoNormal(two_latents))
    guide = NORMAL(a, 0.3, 0.5) + stats.lognorm.logpdf(s, 0.4, scale=np.exp(-0.2))
    np.testing.assert_allclose(run.loss, [guide - log_joint(a, s)], rtol=1e-12)
    assert {n: p.constraint for n, p in run.parameters.items()} == {
        name: "softplus_positive" if name.endswith("scale") else "real" for name in parameters
    }

    def path(loc):  # the loss at fixed noise, in the location of log s
        moved = np.exp(loc + np.log(s) + 0.2)
        return NORMAL(np.log(s), -0.2, 0.4) - np.log(moved) - log_joint(a, moved)

    (expected,) = numeric(path, np.array(-0.2))
    np.testing.assert_allclose(run.parameters["s_auto_loc"].gradient, expected, rtol=1e-6)


LOC = np.array([0.3, -0.2])
UNCONSTRAINED = np.array([[0.7, 0.4]])
JOINT = {
    "AutoDiagonalNormal": (
        {"auto_loc": LOC, "auto_scale": np.array([0.5, 0.4])},
        np.diag([0.25, 0.16]),
    ),
    "AutoMultivariateNormal": (
        {"auto_loc": LOC, "auto_scale_tril": np.array([[0.5, 0.0], [0.2, 0.4]])},
        np.array([[0.25, 0.1], [0.1, 0.2]]),
    ),
    "AutoLowRankMultivariateNormal": (
        {
            "auto_loc": LOC,
            "auto_cov_factor": np.array([[1.0], [2.0]]),
            "auto_scale": np.array([0.5, 0.4]),
        },
        np.outer([0.5, 0.8], [0.5, 0.8]) + np.diag([0.25, 0.16]),
    ),
}


@pytest.mark.parametrize("name", JOINT)
def test_autoguides_with_one_joint_latent(name):
    parameters, covariance = JOINT[name]
    guide = getattr(autoguide, name)
    guide = guide(two_latents, rank=1) if "LowRank" in name else guide(two_latents)
    run = ran(two_latents, Given({"_auto_latent": UNCONSTRAINED}, {}, parameters), X, guide=guide)
    np.testing.assert_array_equal(run.guide["_auto_latent"].value, UNCONSTRAINED)
    assert run.guide["_auto_latent"].kind == "auxiliary"
    a, s = UNCONSTRAINED[0, 0], np.exp(UNCONSTRAINED[0, 1])
    np.testing.assert_allclose(list(at(run)), [a, s])
    guide = stats.multivariate_normal.logpdf(UNCONSTRAINED[0], LOC, covariance)
    np.testing.assert_allclose(
        run.loss, [guide - UNCONSTRAINED[0, 1] - log_joint(a, s)], rtol=1e-12
    )
    assert np.all(np.isfinite(run.parameters["auto_loc"].gradient))


@pytest.mark.slow
def test_replayed_draws_of_a_flow_have_the_gradient_of_the_draw_itself():
    """Given no draws, a run draws with the same keys as `sample` with the seed 0.

    Joint normals are replayed otherwise than they are drawn: see test_joint_autoguides.
    """
    opened = session(two_latents, autoguide.AutoIAFNormal(two_latents))
    first = opened.sample(0, Given(), (X,), {})
    drawn = opened.run(Given(), (X,), {})
    draws = {"_auto_latent": first.guide["_auto_latent"].value}
    given = opened.run(Given(draws), (X,), {})
    np.testing.assert_array_equal(drawn.guide["_auto_latent"].value, draws["_auto_latent"])
    np.testing.assert_allclose(given.loss, drawn.loss, rtol=1e-12)
    for key, parameter in given.parameters.items():
        native = drawn.parameters[key].gradient
        np.testing.assert_allclose(parameter.gradient, native, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["AutoDelta", "AutoLaplaceApproximation"])
def test_autoguides_that_compute_their_values(name):
    a, s = 0.3, np.exp(-0.2)
    delta = name == "AutoDelta"
    given = {"a_auto_loc": a, "s_auto_loc": s} if delta else {"auto_loc": LOC}
    given = {key: np.asarray(value) for key, value in given.items()}
    guide = getattr(autoguide, name)(two_latents)
    run = ran(two_latents, Given({"a": Z[:1], "s": Z[:1]}, {}, given), X, guide=guide)
    jacobian = 0.0 if delta else -0.2
    np.testing.assert_allclose(run.loss, [-log_joint(a, s) - jacobian], rtol=1e-12)
    np.testing.assert_allclose(list(at(run)), [a, s])


def test_an_autoguide_that_was_used_before_is_not_touched():
    guide = autoguide.AutoNormal(two_latents)
    handlers.seed(guide, 5)(jnp.asarray(X))
    before = guide.prototype_trace
    used = sampled(two_latents, X, guide=guide).parameters
    fresh = sampled(two_latents, X, guide=autoguide.AutoNormal(two_latents)).parameters
    assert guide.prototype_trace is before
    assert all(np.array_equal(used[name].value, fresh[name].value) for name in fresh)


def test_a_reparameterised_model():
    def model(x):
        numpyro.sample("z", dist.Normal(3.0, 2.0))

    model = handlers.reparam(model, config={"z": LocScaleReparam(0.0)})
    run = ran(model, Given({"z_decentered": Z[:1]}), X)
    assert run.model["z"].kind == "deterministic"
    np.testing.assert_allclose(run.model["z"].value, 3 + 2 * Z[:1])
    np.testing.assert_allclose(run.loss, [-NORMAL(Z[0])])
