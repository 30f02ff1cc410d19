"""Parameters and items that a linear Gaussian model takes, copies or refuses."""

import numpy as np
import pytest
from linear_gaussians import NAN, make_guide

from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import LinearGaussian


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"loadings": [1, 2]}, ["loadings", "(2,)", "(D, K)"]),
        ({"loadings": np.ones((3, 2, 1))}, ["loadings", "(3, 2, 1)", "(D, K)"]),
        ({"intercept": np.ones(2)}, ["intercept", "(2,)", "(3,)", "scalar"]),
        ({"noise_scale": np.ones((3, 1))}, ["noise_scale", "(3, 1)", "(3,)"]),
        ({"loc": np.ones(3)}, ["loc", "(3,)", "(2,)"]),
        ({"scale": np.ones(3)}, ["scale", "(3,)", "(2,)"]),
        ({"loadings": [[1, 2], [3, 4], [5, NAN]]}, ["loadings", "not finite"]),
        ({"intercept": [0, np.inf, 0]}, ["intercept", "not finite"]),
        ({"noise_scale": NAN}, ["noise_scale", "not finite"]),
        ({"loc": -np.inf}, ["loc", "not finite"]),
        ({"noise_scale": [1, 0, 1]}, ["noise_scale", "minimum 0", "positive"]),
        ({"scale": [1, -2]}, ["scale", "minimum -2", "positive"]),
    ],
)
def test_refused_parameters(arguments, fragments):
    with pytest.raises(InputError) as caught:
        LinearGaussian(**{"loadings": np.ones((3, 2)), **arguments})
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value


@pytest.mark.parametrize("x", [np.ones(3), np.ones((3, 2)), np.ones((1, 2, 3))])
def test_refused_items(x):
    model, guide = LinearGaussian(np.ones((3, 2))), make_guide(2, 2, seed=0)
    alone = (model.precision, model.posterior, model.log_evidence, model.best_diagonal)
    for method, *more in (
        *((method,) for method in alone),
        *((model.family_gap, covariance) for covariance in ("full", "diagonal")),
        *((method, guide) for method in (model.kl_to_posterior, model.expected_elbo)),
    ):
        with pytest.raises(InputError, match=r"expected \(N, D\) with D = 3") as caught:
            method(x, *more)
        assert str(x.shape) in str(caught.value)


def test_scalars_broadcast_and_the_arrays_are_copies():
    loadings, intercept = np.ones((3, 2)), np.zeros(3)
    model = LinearGaussian(loadings, intercept, noise_scale=2, loc=[0.5], scale=3)
    assert (model.num_features, model.num_components) == (3, 2)
    expected = [[[1, 1]] * 3, [0, 0, 0], [2, 2, 2], [0.5, 0.5], [3, 3]]
    assert list(model.as_dict()) == ["loadings", "intercept", "noise_scale", "loc", "scale"]
    assert [value.tolist() for value in model.as_dict().values()] == expected
    loadings[0], intercept[0] = 7, 7
    assert [value.tolist() for value in model.as_dict().values()] == expected
