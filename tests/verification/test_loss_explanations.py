"""What is said of a loss: what a framework gets wrong is the cause only where all sites agree."""

import pyro
import pyro.distributions as dist
import pytest
import torch

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
