"""Pyro's autoguides as guides of a record, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X, numeric
from scipy import stats

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro import poutine  # noqa: E402
from pyro.infer import autoguide  # noqa: E402
from record_pyro_programs import ran  # noqa: E402
from torch.distributions import constraints  # noqa: E402

from pyro_impl.recording.program import Program  # noqa: E402
from twinplate.records.record import Given, Settings  # noqa: E402


def positive_model(x):
    s = pyro.sample("s", dist.HalfNormal(2.0))
    with pyro.plate("data", 3):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, s), obs=x)


def positive_joint(s, z):
    return stats.halfnorm.logpdf(s, scale=2) + NORMAL(z).sum() + NORMAL(X, z, s).sum()


@pytest.mark.parametrize("made", ["flat", "built"])
@pytest.mark.parametrize(
    "name",
    [
        "AutoNormal",
        "AutoDiagonalNormal",
        "AutoMultivariateNormal",
        "AutoLowRankMultivariateNormal",
        "AutoDelta",
        "AutoLaplaceApproximation",
        "AutoIAFNormal",
        "AutoNormalMessenger",
    ],
)
def test_autoguides(name, made):
    guide = getattr(autoguide, name)
    if made == "flat":
        program = Program(positive_model, guide(positive_model))
    else:
        program = Program.build(lambda: (positive_model, guide(positive_model)))
    record = program.record((X,), seeds=(0,), stress=False)
    assert record.failure is None, record.failure
    for precision, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        run = record.runs["0", precision]
        s, z = run.model["s"].value[0], run.model["z"].value[0]
        entropy = sum(site.log_prob.sum() for site in run.guide.values())
        np.testing.assert_allclose(run.loss, entropy - positive_joint(s, z), rtol=tolerance)
    gradients = [p.gradient for p in record.runs["0", "float64"].parameters.values()]
    assert all(np.abs(g).max() > 0 for g in gradients)


def test_the_autoguide_of_a_diagonal_normal_in_closed_form():
    """θ = loc + scale ε in unconstrained space; log q(s, z) = N(θ) - log s; gradient in loc."""
    program = Program(positive_model, autoguide.AutoDiagonalNormal(positive_model, init_scale=0.3))
    one = program.session("float64", Settings())
    theta, loc = np.array([0.4, 0.1, -0.2, 0.3]), np.array([0.2, 0.0, 0.5, 0.3])
    given = Given(
        {"_AutoDiagonalNormal_latent": theta[None]}, parameters={"AutoDiagonalNormal.loc": loc}
    )
    run = one.run(given, (X,), {})
    s, z = np.exp(theta[0]), theta[1:]
    np.testing.assert_allclose(run.model["s"].value, [s])
    density = NORMAL(theta, loc, 0.3).sum() - theta[0]
    np.testing.assert_allclose(run.loss, density - positive_joint(s, z))
    slope = numeric(lambda u: -u[0] - positive_joint(np.exp(u[0]), u[1:]), theta)[0]
    np.testing.assert_allclose(run.parameters["AutoDiagonalNormal.loc"].gradient, slope, rtol=1e-6)
    assert run.guide["_AutoDiagonalNormal_latent"].kind == "auxiliary"


def test_a_trained_autoguide_keeps_its_values_and_its_model():

    def model(x):
        z = pyro.sample(
            "z",
            dist.Normal(0.0, pyro.param("width", torch.ones(3), constraints.positive)).to_event(1),
        )
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    guide = autoguide.AutoNormal(model)
    guide(torch.tensor(X, dtype=torch.float32))
    with torch.no_grad():
        guide.locs.z_unconstrained.fill_(0.75)
    run = Program(model, guide).session("float64", Settings()).sample(0, Given(), (X,), {})
    assert run.failure is None, run.failure
    np.testing.assert_array_equal(run.parameters["AutoNormal.locs.z"].value, np.full(3, 0.75))
    np.testing.assert_array_equal(guide.locs.z.detach(), np.full(3, 0.75, dtype=np.float32))
    assert guide.model is not None
    pyro.clear_param_store()


def test_autonormal_takes_draws_of_the_latents_themselves():
    """Those of the other framework, which has no site in unconstrained space."""

    def model():
        pyro.sample("w", dist.Dirichlet(torch.ones(3)))
        pyro.sample("u", dist.Uniform(2.0, 4.0))

    given = Given({"w": np.array([[0.2, 0.5, 0.3]]), "u": np.array([2.5])})
    run = ran(model, given, guide=autoguide.AutoNormal(model))
    np.testing.assert_allclose(run.guide["w"].value, given.draws["w"])
    np.testing.assert_allclose(run.guide["u_unconstrained"].value, [np.log(0.25 / 0.75)])
    np.testing.assert_allclose(run.model["u"].value, [2.5])


def test_a_list_of_autoguides():
    guide = autoguide.AutoGuideList(positive_model)
    guide.append(autoguide.AutoDelta(poutine.block(positive_model, hide=["z"])))
    guide.append(autoguide.AutoNormal(poutine.block(positive_model, hide=["s"])))
    record = Program(positive_model, guide).record((X,), seeds=(0,), stress=False)
    assert record.failure is None, record.failure
    assert set(record.runs["0", "float64"].guide) == {"s", "z"}
