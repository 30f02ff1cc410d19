"""Modules of torch and Pyro: their parameters are recorded, they themselves stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X, numeric

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.contrib.gp as gp  # noqa: E402
import pyro.distributions as dist  # noqa: E402
from pyro.nn import PyroModule, PyroParam, PyroSample  # noqa: E402
from record_pyro_programs import Z, local_model, ran, session  # noqa: E402
from torch import nn  # noqa: E402
from torch.distributions import constraints  # noqa: E402

from pyro_impl.recording.program import Program  # noqa: E402
from twinplate.errors import InputError  # noqa: E402
from twinplate.records.record import Given  # noqa: E402


class Regression(PyroModule):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.scale = PyroParam(torch.tensor(1.0), constraints.positive)
        self.slope = PyroSample(dist.Normal(0.0, 1.0))
        self.offset = PyroSample(lambda self: dist.Normal(self.slope, 0.5))

    def forward(self, x):
        mean = self.linear(x[:, None])[:, 0] * self.slope + self.offset
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, self.scale), obs=x)


def regression_loss(w, b, s, slope, half):
    mean = (w * X + b) * slope + half
    return -(NORMAL(slope) + NORMAL(half, slope, 0.5) + NORMAL(X, mean, s).sum())


def test_pyro_modules_with_parameters_and_samples_stay_as_they_are():
    model = Regression()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = {"linear$$$weight": [[1.3]], "linear$$$bias": [0.2], "scale": 0.7}
    given = Given(
        {"slope": np.array([0.4]), "offset": np.array([-0.3])},
        parameters={name: np.array(value) for name, value in parameters.items()},
    )
    run = ran(model, given, X)
    np.testing.assert_allclose(run.loss, [regression_loss(1.3, 0.2, 0.7, 0.4, -0.3)])
    gradient = numeric(lambda w: regression_loss(w[0], 0.2, 0.7, 0.4, -0.3), np.array([1.3]))[0]
    np.testing.assert_allclose(run.parameters["linear$$$weight"].gradient, [gradient], rtol=1e-6)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert after["linear.weight"].dtype == torch.float32


def test_a_module_that_a_function_reaches_is_borrowed_and_given_back():
    net = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Softplus())
    constant = torch.tensor([0.25, 1.0])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net[0].weight.grad = torch.full((2, 1), 3.0)

    def encode(x):
        return net(x[:, None]) @ constant

    def guide(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encode(x), 1.0))

    weight = np.array([[1.5], [-0.5]])
    given = Given({"z": Z[:1]}, parameters={"net$$$0.weight": weight})
    for precision in ("float64", "float32"):
        one = session(local_model, guide, precision)
        run = one.run(given, (X,), {})
        assert run.failure is None, run.failure
        assert run.parameters["net$$$0.weight"].value.dtype == precision
        np.testing.assert_allclose(run.parameters["net$$$0.weight"].value, weight)
        assert np.abs(run.parameters["net$$$1.weight"].gradient).min() > 0
        hidden = weight[:, 0] * X[:, None] + before["0.bias"].numpy()
        hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
        loc = np.log1p(np.exp(hidden)) @ [0.25, 1.0]
        np.testing.assert_allclose(run.guide["z"].arguments["loc"][0], loc, rtol=1e-4)
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(after[name].dtype == value.dtype for name, value in before.items())
    assert torch.equal(net[0].weight.grad, torch.full((2, 1), 3.0))
    assert constant.dtype == torch.float32


def test_an_object_that_predicts_is_refused_and_its_program_named():
    """GPRegression and Forecaster have the program in their attributes; called, they need other arguments."""
    kernel = gp.kernels.RBF(1)
    regression = gp.models.GPRegression(torch.zeros(2), torch.zeros(2), kernel)
    with pytest.raises(InputError, match=r"a GPRegression, .* Program\(gp.model, gp.guide\)"):
        Program(regression)
    ran(regression.model, Given())
