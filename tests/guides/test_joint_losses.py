"""`joint_sample` under the frameworks' losses: the Jacobian is in each of them."""

from __future__ import annotations

import math

import numpy as np
import pytest


@pytest.mark.parametrize("loss", ["Trace_ELBO", "TraceMeanField_ELBO"])
def test_the_loss_is_that_of_a_log_normal_in_closed_form(twin, loss):
    """A log normal guide of a log normal prior: minus the ELBO is the divergence of their normals.

    The guide is the prior, so that the loss is zero for every draw, if it has the Jacobian.
    """
    framework, dist = twin.framework, twin.dist

    def model():
        with framework.plate("items", 3):
            framework.sample("size", dist.LogNormal(twin.array(0.5), twin.array(0.7)))

    def guide():
        with framework.plate("items", 3):
            normal = twin.impl.PackedMultivariateNormal(
                twin.array(np.full((3, 1), 0.5)), twin.array([0.7]), twin.array(np.zeros(0))
            )
            local = twin.impl.Local(dist.constraints.positive)
            twin.impl.joint_sample("joint", normal, {"size": local})

    elbo = getattr(framework.infer, loss)()
    if twin.name == "pyro":
        found = elbo.loss(model, guide)
    else:
        found = float(elbo.loss(twin.jax.random.key(0), {}, model, guide))
    assert math.isclose(found, 0.0, abs_tol=1e-9)
