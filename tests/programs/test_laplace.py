"""The normal at the mode against SciPy's optimiser, and as a proposal for items far from all others."""

import numpy as np
import pytest
import scipy

from twinplate import GeneralisedLinear
from twinplate.programs.importance import importance_bound
from twinplate.programs.laplace import laplace


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "bernoulli"])
def test_the_mode_and_its_curvature_are_those_of_scipy(likelihood):
    rng = np.random.default_rng(0)
    given = {"concentration": [1.0, 5.0, 30.0, 2.0]} if likelihood == "negative-binomial" else {}
    model = GeneralisedLinear(likelihood, rng.normal(size=(4, 2)), 0.5, 0.3, [0.7, 1.4], **given)
    offsets = np.array([0.5, 2.0, 1.0])
    x = model.simulate(3, rng, offsets)[0]
    x[0, 1] = np.nan
    if likelihood != "bernoulli":
        x[2] = [5000.0, 0.0, 3.0, 1.0]  # far from all others
    found = laplace(model, x, offsets)
    for n in range(3):
        one, of = x[[n]], offsets[[n]]

        def lost(a, one=one, of=of):
            return -model.log_joint(one, a[None], of)[0]

        known = scipy.optimize.minimize(lost, np.zeros(2), method="BFGS", options={"gtol": 1e-7})
        np.testing.assert_allclose(found.loc[n], known.x, atol=1e-4)
        step, eye = 1e-3, np.eye(2)
        hessian = [
            [
                sum(
                    s * t * lost(found.loc[n] + step * (s * eye[i] + t * eye[j]))
                    for s in (1, -1)
                    for t in (1, -1)
                )
                / (4 * step**2)
                for j in range(2)
            ]
            for i in range(2)
        ]
        covariance = found.scale_tril[n] @ found.scale_tril[n].T
        np.testing.assert_allclose(covariance @ hessian, np.eye(2), atol=1e-5)


def test_a_far_item_has_many_effective_draws():
    model = GeneralisedLinear("poisson", [[1.0, 0.2], [0.3, -1.0], [0.5, 0.5]], 0.2)
    x = np.array([[1.0, 2.0, 0.0], [1e5, 0.0, 3.0]])
    bound = importance_bound(model, x, None, [laplace(model, x)])
    assert bound.effective_draws.min() > 300
