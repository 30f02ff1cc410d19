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
