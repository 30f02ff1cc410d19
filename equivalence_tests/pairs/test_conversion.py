"""Real programs, converted both ways: the same losses, and training that goes on as if nothing had moved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import numpyro
import optax
import pyro
import pytest
import torch
from jax import numpy as jnp
from torch.distributions import constraints

import numpyro_impl
import pyro_impl
from equivalence_tests.pairs import joint_autoguides
from equivalence_tests.pairs.test_pairs import CASES
from twinplate import Case, Converted, convert
from twinplate.records.record import Given
from twinplate.verification.matching.unconstrained import jitter

BEFORE, AFTER = 30, 200

rng = np.random.default_rng(8)
x = rng.normal(size=(40, 3))
y = np.sin(x @ np.array([1.0, -0.5, 0.3])) + 0.5 * rng.normal(size=40)


# -- programs without noise: a network, a positive and a bounded number, a latent that is a point ------


def make_pyro() -> tuple[Any, Any]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

    def model(x: Any, y: Any) -> None:
        pyro.module("net", net)
        noise = pyro.param("noise", torch.tensor(0.7), constraints.positive)
        shift = pyro.sample("shift", pyro.distributions.Normal(0.0, 1.0))
        with pyro.plate("items", len(x)):
            pyro.sample("y", pyro.distributions.Normal(net(x)[:, 0] + shift, noise), obs=y)

    def guide(x: Any, y: Any) -> None:
        place = pyro.param("place", torch.tensor(0.2), constraints.interval(-1.0, 3.0))
        pyro.sample("shift", pyro.distributions.Delta(place))

    return model, guide


def make_numpyro() -> tuple[Any, Any]:
    import flax.linen
    from numpyro.contrib.module import flax_module
    from numpyro.distributions import Delta, Normal
    from numpyro.distributions import constraints as ours

    wide, last = (flax.linen.Dense(size, param_dtype=jnp.result_type(float)) for size in (4, 1))
    layers = flax.linen.Sequential([wide, jnp.tanh, last])

    def model(x: Any, y: Any) -> None:
        net = flax_module("net", layers, input_shape=(3,))
        noise = numpyro.param("noise", 0.7, constraint=ours.positive)
        shift = numpyro.sample("shift", Normal(0.0, 1.0))
        with numpyro.plate("items", len(x)):
            numpyro.sample("y", Normal(net(x)[:, 0] + shift, noise), obs=y)

    def guide(x: Any, y: Any) -> None:
        place = numpyro.param("place", 0.2, constraint=ours.interval(-1.0, 3.0))
        numpyro.sample("shift", Delta(place))

    return model, guide


CASE = Case(
    pyro_impl.Program.build(make_pyro), numpyro_impl.Program.build(make_numpyro), args=(x, y)
)


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision in both frameworks, and an empty parameter store."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with jax.enable_x64(True), pyro.get_param_store().scope():
        yield
    torch.set_default_dtype(before)


class PyroRun:
    """Training in Pyro, in the store that is current."""

    def __init__(self, optim: Any) -> None:
        model, guide = make_pyro()
        self.optim, self.args = optim, tuple(map(torch.as_tensor, (x, y)))
        self.svi = pyro.infer.SVI(model, guide, optim, pyro.infer.Trace_ELBO())

    def go_on(self, converted: Converted) -> None:
        self.svi.evaluate_loss(*self.args)
        pyro_impl.restore(converted.trained, self.optim)

    def steps(self, count: int) -> list[float]:
        return [self.svi.step(*self.args) for _ in range(count)]


class NumpyroRun:
    """Training in NumPyro."""

    def __init__(self, optim: Any) -> None:
        self.svi = numpyro.infer.SVI(*make_numpyro(), optim, numpyro.infer.Trace_ELBO())
        self.state = self.svi.init(jax.random.key(0), x, y)
        self.update = jax.jit(lambda state: self.svi.update(state, x, y))

    def go_on(self, converted: Converted) -> None:
        self.state = numpyro_impl.restore(converted.trained, self.svi, self.state)

    def steps(self, count: int) -> list[float]:
        losses = []
        for _ in range(count):
            self.state, loss = self.update(self.state)
            losses.append(float(loss))
        return losses


@pytest.mark.parametrize(
    "optimisers",
    [
        (lambda: pyro.optim.Adam({"lr": 0.01}), lambda: numpyro.optim.Adam(0.01)),
        pytest.param(
            (
                lambda: pyro.optim.Adam({"lr": 0.01}),
                lambda: optax.adam(optax.constant_schedule(0.01)),
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (
                lambda: pyro.optim.ClippedAdam({"lr": 0.01, "eps": 0.0, "clip_norm": 5.0}),
                lambda: numpyro.optim.ClippedAdam(0.01, eps=0.0, clip_norm=5.0),
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["adam", "optax", "clipped"],
)
def test_training_goes_on_in_the_other_framework_and_back(double: None, optimisers: Any) -> None:
    first = PyroRun(optimisers[0]())
    first.steps(BEFORE)
    taken = pyro_impl.trained(first.optim)
    expected = first.steps(2 * AFTER)

    second = NumpyroRun(optimisers[1]())
    there = convert(CASE, taken, to="numpyro")
    second.go_on(there)
    np.testing.assert_allclose(second.steps(AFTER), expected[:AFTER], rtol=1e-9)

    back = convert(CASE, numpyro_impl.trained(second.svi, second.state), to="pyro")
    pyro.clear_param_store()
    third = PyroRun(optimisers[0]())
    third.go_on(back)
    np.testing.assert_allclose(third.steps(AFTER), expected[AFTER:], rtol=1e-9)
    assert there.reset == back.reset == ()


# -- pairs of real programs: as in `verify`, but at values of their own, and back to the bit ------------

SHORT = ("joint_autoguides:CASE_LOW_RANK", "networks:CASE")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SHORT else pytest.mark.slow) for n in CASES]
)
def test_parameters_of_real_programs_go_there_and_back(name: str) -> None:
    case = CASES[name]
    session = case.first.session("float64", case.settings)
    found = session.sample(0, Given(), case.args, dict(case.kwargs)).parameters
    learned = {n: p for n, p in found.items() if p.constraint != "unconstrained"}
    if not learned:
        pytest.skip("is fitted by MCMC, or learns nothing")
    rng = np.random.default_rng(3)
    given = {n: jitter(p.value, p.constraint, rng) for n, p in learned.items()}
    there = convert(case, given)
    back = convert(case, there.trained, to="first").trained.params
    for first, second in there.losses.values():  # Pyro's Bessel functions are as good as that
        assert abs(first - second) <= 1e-7 * max(1.0, abs(first))
    for n, values in given.items():
        np.testing.assert_allclose(back[n], values, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_moments_of_a_factor_are_those_of_its_scale_and_its_unit_triangle(double: None) -> None:
    """Pyro trains a scale and a square whose upper half nothing moves, NumPyro one packed vector."""
    data = joint_autoguides.y
    case = Case(
        joint_autoguides.from_pyro(joint_autoguides.pyro_small_model, "AutoMultivariateNormal"),
        joint_autoguides.from_numpyro(
            joint_autoguides.numpyro_small_model, "AutoMultivariateNormal"
        ),
        args=(data,),
    )
    guide = pyro.infer.autoguide.AutoMultivariateNormal(joint_autoguides.pyro_small_model)
    optim = pyro.optim.Adam({"lr": 0.01})
    svi = pyro.infer.SVI(joint_autoguides.pyro_small_model, guide, optim, pyro.infer.Trace_ELBO())
    for _ in range(3):
        svi.step(torch.as_tensor(data))
    taken = pyro_impl.trained(optim)
    there = convert(case, taken)
    assert there.reset == () and there.trained.mean["auto_scale_tril"].shape == (10,)
    back = convert(case, there.trained, to="first").trained
    for name, values in taken.mean.items():
        np.testing.assert_array_equal(back.mean[name], values)
        np.testing.assert_array_equal(back.variance[name], taken.variance[name])
