"""Compiled steps beside eager ones: what counts as different, and what no program is punished for."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import data
from compiled_runs import assert_replayed_equals, guide, losses, model_with, steps_of
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyro_impl import CompiledSVI, EagerWarning
from pyro_impl.compiled.agreement import Comparison, Outcome, rewinding, same_bits
from pyro_impl.compiled.cross_check import taken_twice

pytestmark = pytest.mark.usefixtures("own_world")


# --- what differs ---------------------------------------------------------------------------------


def outcome(loss, *gradients):
    return Outcome(loss, [torch.tensor(g) for g in gradients])


SINGLE = torch.finfo(torch.float32).eps


@pytest.mark.parametrize(
    ("found", "expected", "before", "same"),
    [
        (1000.01, 1000.0, 0.0, True),
        (1000.1, 1000.0, 0.0, False),
        (0.01, 0.0, 1000.0, True),  # a loss that crosses zero is rounded by the size of its terms
        (0.1, 0.0, 1000.0, False),
        (0.01, 0.0, math.inf, False),
        (math.nan, math.nan, 1.0, True),
        (math.inf, math.inf, 1.0, True),
        (1.0, math.nan, 1.0, False),
        (math.nan, 1.0, 1.0, False),
        (1.0, math.inf, 1.0, False),
        (-math.inf, math.inf, 1.0, False),
    ],
)
def test_losses_that_are_the_same(found, expected, before, same):
    comparison = Comparison(SINGLE, first=0.0, loss=before)
    message = comparison.difference(outcome(found, [1.0]), outcome(expected, [1.0]))
    assert (message is None) == same
    assert same or message.startswith("the loss of the compiled step is ")


def test_gradients_are_compared_by_their_own_size_and_the_largest():
    eager = outcome(1.0, [100.0, 200.0], [1.0], [1e-4])
    near = outcome(1.0, [100.1, 200.0], [1.0005], [3e-4])
    far = outcome(1.0, [101.0, 200.0], [1.0], [1e-4]), outcome(1.0, [100.0, 200.0], [1.01], [1e-4])
    assert Comparison(SINGLE).difference(near, eager) is None
    for gradients in far:
        assert "gradient's norm" in Comparison(SINGLE).difference(gradients, eager)


def test_gradients_that_are_no_numbers_are_the_same_where_all_are_none():
    bad = outcome(1.0, [math.nan, math.inf, 1.0])
    assert Comparison(SINGLE).difference(bad, bad) is None
    assert "norm" in Comparison(SINGLE).difference(bad, outcome(1.0, [1.0, math.inf, 1.0]))
    assert "norm" in Comparison(SINGLE).difference(
        outcome(1.0, [0.0, 1.0]), outcome(1.0, [0.0, 0.0])
    )
    assert "norm" in Comparison(SINGLE).difference(outcome(1.0, [1.0]), outcome(1.0, [0.0]))


@pytest.mark.parametrize(
    ("first", "loss", "gradient", "what"),
    [
        (1e-7, 1.00001, 1.0005, None),
        (1e-7, 1.0001, 1.0, "loss"),
        (2e-4, 1.0009, 1.005, None),  # ill-conditioned, as seen from the start
        (2e-4, 1.002, 1.0, "loss"),
        (2e-4, 1.0, 1.01, "gradient"),
    ],
)
def test_what_the_first_comparison_found_is_rounding(first, loss, gradient, what):
    comparison, eager = Comparison(SINGLE), outcome(1.0, [1.0])
    assert comparison.difference(outcome(1.0, [1.0 + first]), eager) is None
    message = comparison.difference(outcome(loss, [gradient]), eager)
    assert message is None if what is None else what in message


def test_a_gradient_that_has_converged_is_compared_by_the_size_that_it_had():
    comparison, early = Comparison(SINGLE), outcome(1.0, [100.0], [50.0])
    assert comparison.difference(early, early) is None
    found, expected = outcome(1.0, [1e-4], [2e-4]), outcome(1.0, [-2e-4], [1e-4])
    assert comparison.difference(found, expected) is None
    assert "norm of b" in comparison.difference(outcome(1.0, [0.0], [0.2]), expected, "ab")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([1.0, math.nan], [1.0, math.nan], True),
        ([1.0, math.nan], [1.0, 2.0], False),
        ([0.1], [math.nextafter(0.1, 1.0)], False),
        ([1.0], [1.0, 1.0], False),
        ([], [], True),
    ],
)
def test_the_same_bits(one, other, same):
    assert same_bits(torch.tensor(one).double(), torch.tensor(other).double()) == same


def test_the_random_numbers_of_every_gpu_are_given_back(monkeypatch):
    given = []
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.get_rng_state_all", lambda: ["a", "b", "c"])
    monkeypatch.setattr("torch.cuda.set_rng_state_all", given.extend)
    content = torch.zeros(2)
    rewind = rewinding([content])
    expected = torch.rand(3), content.add_(1)
    rewind()
    assert given == ["a", "b", "c"] and content.tolist() == [0, 0]
    assert torch.equal(torch.rand(3), expected[0])


# --- whole programs -------------------------------------------------------------------------------


def run_with_hidden(model_of, steps=20, change=6, to=1.001, **options):
    """In single precision; a number that no guard sees is another one from step `change` on."""
    torch.set_default_dtype(torch.float32)
    held = np.ones(1)

    def each(i):
        held[0] = 1.0 if i < change else to

    x, y = (t.float() for t in data())
    arguments = lambda i: (x, y)
    model = model_of(lambda: float(held[0]))
    return losses(CompiledSVI, model, each=each, steps=steps, arguments=arguments, **options)


@pytest.mark.parametrize(("machine_code", "to"), [(False, 1 + 2e-7), (True, 1.001)])
def test_a_small_change_of_the_loss_is_found_in_single_precision(interpreted, machine_code, to):
    """By replayed steps as soon as one bit is another one."""
    with pytest.warns(EagerWarning, match=r"the loss .*agreed 4 steps before") as caught:
        run_with_hidden(
            lambda hidden: model_with(lambda *_: hidden()), to=to, machine_code=machine_code
        )
    assert [w.filename for w in caught if w.category is EagerWarning] == [
        losses.__code__.co_filename
    ]


@pytest.mark.parametrize(
    ("machine_code", "what"),
    [
        (False, "the parameter 'loc' after the replayed step"),
        (True, "the gradient's norm of parameter 'scale'"),
    ],
)
def test_a_change_of_the_gradient_alone_is_found(interpreted, machine_code, what):
    def model_of(hidden):
        def density(slope, x):
            pyro.factor("pull", hidden() * (slope - slope.detach()))
            return 1.0

        return model_with(density)

    with pytest.warns(EagerWarning, match=rf"{what} .*agreed 4 steps before"):
        run_with_hidden(model_of, to=2.0, machine_code=machine_code)


def test_where_they_differ_the_eager_step_counts():
    with pytest.warns(EagerWarning, match="the loss"):
        found, _ = run_with_hidden(lambda hidden: model_with(lambda *_: hidden()), change=9, to=3.0)
    torch.set_default_dtype(torch.float64)
    held = [1.0]

    def each(i):
        held[0] = 1.0 if i < 9 else 3.0

    expected, _ = losses(SVI, model_with(lambda *_: held[0]), each=each, steps=20)
    assert found == pytest.approx(
        expected, rel=1e-5
    )  # step 9, the replayed step 8, is the first that differs


def test_a_loss_function_that_differentiates_is_replayed():
    """With a penalty on its own gradient: an eager look at it needs gradients too."""

    def penalised(model, guide, *args):
        loss = Trace_ELBO().differentiable_loss(model, guide, *args)
        leaf = pyro.get_param_store()._params["loc"]
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        return loss + 0.1 * gradient.square().sum()

    assert_replayed_equals(model_with(lambda *_: 1.0), 1, steps=20, loss=lambda: penalised)


def test_an_error_in_the_first_comparison_leaves_it_to_the_next_step(monkeypatch):
    compared = []

    def interrupted(*arguments):
        compared.append(1)
        if len(compared) == 1:
            raise KeyboardInterrupt
        return taken_twice(*arguments)

    monkeypatch.setattr("pyro_impl.compiled.svi.taken_twice", interrupted)
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    svi = CompiledSVI(
        model_with(lambda *_: 1.0), guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO()
    )
    for _ in range(2):
        svi.step(*data())
    with pytest.raises(KeyboardInterrupt):
        svi.step(*data())
    svi.step(*data())
    assert len(compared) == 2


# --- no honest program is called different --------------------------------------------------------


class InSingle(nn.Module):
    """Part of a program in single precision, the rest in double."""

    def forward(self, slope, x):
        return 1.0 + (slope.float() * x.float()[:, 0]).exp().double()


def test_rounding_is_that_of_the_coarsest_type(interpreted):
    torch.set_default_dtype(torch.float64)
    found, svi = losses(CompiledSVI, model_with(InSingle()), steps=4, machine_code=True)
    (step,) = steps_of(svi)
    assert step.comparison.eps == pytest.approx(SINGLE) and len(found) == 4


@pytest.mark.slow
def test_an_ill_conditioned_program_is_not_called_different():
    """A Gaussian process in single precision: two orders of its sums give other losses, by many roundings."""
    torch.set_default_dtype(torch.float32)
    x = torch.linspace(0, 1, 60)
    y = torch.sin(6 * x)

    def process(x, y):
        length = pyro.sample("length", dist.LogNormal(-1.0, 0.3))
        kernel = torch.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + 1e-3 * torch.eye(len(x))
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), kernel), obs=y)

    pyro.set_rng_seed(7)
    adam, elbo = pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()
    svi = CompiledSVI(process, AutoNormal(process), adam, elbo, machine_code=True)
    for _ in range(300):
        svi.step(x, y)
    (step,) = steps_of(svi)
    assert step.taken == 299 and step.comparison.first > 8 * SINGLE
