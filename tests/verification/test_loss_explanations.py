"""What is said of a loss: what a framework gets wrong is the cause only where all sites agree."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as numpyro_dist
import pyro
import pyro.distributions as dist
import pytest
import torch
from numpyro.contrib.funsor import config_enumerate as numpyro_config_enumerate
from pyro.infer import config_enumerate

from numpyro_impl import Program as NumpyroProgram
from pyro_impl import Program
from twinplate import InputError, verify


def program(prior_scale):
    def model():
        pyro.sample("z", dist.Normal(0.0, prior_scale))

    def guide():
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.2)), 0.5))

    return Program(model, guide)


def test_a_loss_that_follows_from_a_site_gets_no_cause_of_its_own():
    report = verify(program(1.0), program(2.0), loss="TraceMeanField_ELBO", stress=False)
    messages = {f.stage: f.message for f in report.findings}
    assert "scale differs" in messages["density"]
    assert "analytic KL" not in messages["loss"] + messages["gradient"]


def test_the_order_of_renyis_bound_may_not_be_one():
    with pytest.raises(InputError, match=r"alpha is 1.*Trace_ELBO"):
        verify(program(1.0), program(1.0), loss="RenyiELBO", alpha=1)


# -- losses that agree, and are wrong in both -----------------------------------------------------------


def items(joint):
    """Ten items, whose latents the guide draws item by item, or all at once outside of their plate."""

    def model():
        with pyro.plate("items", 10):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=torch.ones(10))

    def guide():
        posterior = dist.Normal(pyro.param("loc", torch.tensor(0.5)), 0.7).expand([10])
        if joint:
            a_aux = pyro.sample("a_aux", posterior.to_event(1), infer={"is_auxiliary": True})
        with pyro.plate("items", 10):
            pyro.sample("z", dist.Delta(a_aux) if joint else posterior)

    return Program(model, guide)


@pytest.mark.parametrize(
    ("joint", "loss"), [(True, "RenyiELBO"), (False, "RenyiELBO"), (True, "Trace_ELBO")]
)
def test_a_joint_guide_under_renyi_is_told_where_both_have_it(joint, loss):
    report = verify(items(joint), items(joint), loss=loss, particles=2, seeds=(0,), stress=False)
    told = [f.message for f in report.findings if "wrong in both" in f.message]
    assert report.ok
    assert bool(told) == (joint and loss == "RenyiELBO")
    assert all("once for every item of plate 'items'" in text for text in told)


def student(loc, scale):
    return dist.StudentT(3.0, loc, scale)


@pytest.mark.parametrize(
    ("scale", "family"), [(1.0, dist.Normal), (3.0, dist.Normal), (3.0, student)]
)
def test_a_scale_of_the_model_alone_is_told_where_a_divergence_loses_it(scale, family):
    def scaled():
        def model():
            with pyro.poutine.scale(scale=scale):
                pyro.sample("z", family(0.0, 1.0))

        def guide():
            pyro.sample("z", family(pyro.param("loc", torch.tensor(0.2)), 0.5))

        return Program(model, guide)

    report = verify(scaled(), scaled(), loss="TraceMeanField_ELBO", seeds=(0,), stress=False)
    told = "wrong in both" in "".join(f.message for f in report.findings)
    assert report.ok and told == (
        scale != 1.0 and family is dist.Normal
    )  # none of Students is known


# -- what one program sums over, and the other draws ------------------------------------------------------


def pyro_mixture(enumerated, outside=False):
    """Two components, and which is the item's; `enumerated` by the site, or by `outside`, a handler."""

    def model():
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        infer = {"enumerate": "parallel"} if enumerated and not outside else {}
        with pyro.plate("items", 3):
            side = pyro.sample("side", dist.Bernoulli(torch.tensor(0.3)), infer=infer)
            pyro.sample("y", dist.Normal(loc + side, 1.0), obs=torch.tensor([0.5, -1.0, 2.0]))

    def guide():
        pyro.sample("loc", dist.Normal(pyro.param("centre", torch.tensor(0.5)), 0.7))

    return Program(config_enumerate(model) if enumerated and outside else model, guide)


def numpyro_mixture(enumerated, outside=False):
    def model():
        loc = numpyro.sample("loc", numpyro_dist.Normal(0.0, 1.0))
        infer = {"enumerate": "parallel"} if enumerated and not outside else {}
        with numpyro.plate("items", 3):
            side = numpyro.sample("side", numpyro_dist.Bernoulli(0.3), infer=infer)
            y = jnp.array([0.5, -1.0, 2.0])
            numpyro.sample("y", numpyro_dist.Normal(loc + side, 1.0), obs=y)

    def guide():
        numpyro.sample("loc", numpyro_dist.Normal(numpyro.param("centre", jnp.array(0.5)), 0.7))

    if enumerated and outside:
        model = numpyro_config_enumerate(model)
    return NumpyroProgram(model, guide)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("first", [pyro_mixture, numpyro_mixture])
@pytest.mark.parametrize("second", [pyro_mixture, numpyro_mixture])
@pytest.mark.parametrize(("in_first", "in_second"), [(True, False), (False, True), (True, True)])
def test_what_one_program_alone_sums_over_is_named(first, second, outside, in_first, in_second):
    options = {"loss": "TraceEnum_ELBO", "seeds": (0,), "stress": False}
    report = verify(first(in_first, outside), second(in_second), **options)
    if in_first == in_second:
        assert report.ok, report
        return
    finding = report.findings[0]
    summed, drawn = ("first", "second") if in_first else ("second", "first")
    assert (finding.stage, finding.site) == ("loss", "side"), report
    text = f"The {summed} program sums over the values of 'side', the {drawn} draws one: say"
    assert text in finding.message, finding.message


def test_an_enumeration_says_nothing_to_a_loss_that_does_not_sum():
    assert verify(pyro_mixture(True), numpyro_mixture(False), seeds=(0,), stress=False).ok
