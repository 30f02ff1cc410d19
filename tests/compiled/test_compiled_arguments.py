"""Arguments of a compiled step: shapes, types and plain values have graphs of their own, others none."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import data
from compiled_runs import (
    assert_eager_equals,
    assert_replayed_equals,
    guide,
    losses,
    model_with,
    steps_of,
)
from pyro.infer import SVI, Trace_ELBO
from torch.nn.utils import rnn

from pyro_impl import CompiledSVI, EagerWarning

pytestmark = pytest.mark.usefixtures("own_world")


def test_a_number_as_an_argument_that_changes_at_every_step_runs_eagerly():
    def model(x, y, scale):
        model_with(lambda *_: scale)(x, y)

    x, y = data()
    with pytest.warns(EagerWarning, match="pad what differs .*numbers that change") as caught:
        found, svi = losses(
            CompiledSVI,
            model,
            steps=20,
            guide=lambda x, y, scale: guide(x, y),
            arguments=lambda i: (x, y, 1.0 + 0.1 * i),
        )
    assert not svi._steps and len(found) == 20
    assert len([w for w in caught if w.category is EagerWarning]) == 1


def test_a_batch_of_one_is_not_broadcast():
    x, y = data()
    sizes = [8, 8, 8, 1, 1, 1, 8, 1]
    assert_replayed_equals(
        model_with(lambda *_: 1.0), 2, steps=8, arguments=lambda i: (x[: sizes[i]], y[: sizes[i]])
    )


def test_types_and_plain_values_have_graphs_of_their_own():
    def model(x, y, power):
        model_with(lambda *_: 1.0 + power)(x.to(y.dtype), y)

    x, y = data()
    kinds = [(x, y, 1), (x, y, 2), (x.float(), y, 1), (x, y, True), (x.mT.contiguous().mT, y, 1)]
    settings = {"guide": lambda x, y, power: guide(x, y), "steps": 20}
    assert_replayed_equals(model, 5, arguments=lambda i: kinds[i % 5], **settings)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        (np.array([None]), "numpy.ndarray"),
        (torch.ones(3, requires_grad=True), "requires a gradient"),
        (torch.eye(3).to_sparse(), "is sparse"),
        (object(), "builtins.object"),
    ],
)
def test_arguments_that_are_no_plain_values_run_eagerly(argument, reason):
    model = lambda x, y, other: model_with(lambda *_: 1.0)(x, y)
    assert_eager_equals(
        model,
        reason,
        for_good=False,
        guide=lambda x, y, _: guide(x, y),
        arguments=lambda i: (*data(), argument),
    )


class Batch(NamedTuple):
    x: torch.Tensor
    power: int = 1


@dataclass(frozen=True)
class Table:
    x: torch.Tensor
    power: int = 1
    names: tuple[str, ...] = ("a",)


@pytest.mark.parametrize(
    "packed",
    [Batch, Table, lambda x, power: OrderedDict(x=x, power=power)],
    ids=["tuple", "data", "dict"],
)
def test_what_holds_tensors_by_name_is_looked_into(packed):
    """Two powers, two records; the tensors in it are those of each step."""

    def model(given, y):
        held = given if isinstance(given, dict) else {"x": given.x, "power": given.power}
        assert type(given) is type(packed(held["x"], 1))
        model_with(lambda slope, x: 1.0 + held["power"] * x[:, 0].square())(held["x"], y)

    def arguments(i):
        x, y = data()
        return packed(x + 0.01 * i, 1 + i // 7), y

    settings = {"guide": lambda given, y: guide(y, y), "steps": 14, "arguments": arguments}
    assert_replayed_equals(model, 2, **settings)


def test_a_packed_sequence_is_looked_into():
    network = torch.nn.GRU(3, 1)

    def model(packed, y):
        outputs, _ = rnn.pad_packed_sequence(network(packed)[0], batch_first=True)
        model_with(lambda *_: 1.0 + outputs.square().sum())(y[:, None], y)

    def arguments(i):
        x, y = data()
        x = (x + 0.01 * i).reshape(3, 4, 3)
        lengths = torch.tensor([4, 3, 2] if i < 8 else [4, 4, 1])
        return rnn.pack_padded_sequence(x, lengths, batch_first=True), y

    settings = {"guide": lambda packed, y: guide(y, y), "steps": 16, "arguments": arguments}
    assert_replayed_equals(model, 2, **settings)


def test_autocast_on_a_cpu_has_graphs_of_its_own():
    torch.set_default_dtype(torch.float32)
    weights = torch.linspace(-1, 1, 9).reshape(3, 3).exp()
    density = lambda slope, x: 1.0 + (x @ weights).square().sum(-1)

    def run(kind):
        def arguments(i):
            stack.close()
            if i in (4, 5, 6, 8):
                dtype = torch.bfloat16 if i != 8 else torch.float16
                stack.enter_context(torch.autocast("cpu", dtype))
            return data()

        with contextlib.ExitStack() as stack:
            found, svi = losses(kind, model_with(density), steps=10, arguments=arguments)
        return found, svi

    expected, _ = run(SVI)
    found, svi = run(CompiledSVI)
    assert found == expected
    assert len(steps_of(svi)) == 2 and len(svi._seen) == 3


def test_keywords_and_nested_dictionaries():
    """In the order given: a program may draw for one after the other."""

    def model(x, y, *, options, **named):
        for name, value in named.items():
            pyro.sample(name, dist.Normal(0.0, value["scale"]).mask(False))
        model_with(lambda *_: options["scale"]["of y"])(x, y)

    def guide_of(x, y, *, options, **named):
        for name, value in named.items():
            pyro.sample(name, dist.Normal(0.0, value["scale"]).mask(False))
        guide(x, y)

    def run(kind):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        svi = kind(model, guide_of, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
        found = []
        for i in range(12):
            options = {"scale": {"of y": torch.tensor(1.0 + 0.1 * i)}, "kind": "a"}
            named = {name: {"scale": 1.0} for name in ("ab" if i % 3 else "ba")}
            found.append(svi.step(*data(), options=options, **named))
        return found, svi

    expected, _ = run(SVI)
    found, svi = run(CompiledSVI)
    assert found == expected
    assert len(steps_of(svi)) == 2 and not svi._eager


def test_one_step_with_such_an_argument_leaves_the_others_replayed():
    """One warning, however many such steps; the next replayed one counts them."""
    model = lambda x, y, scale: model_with(lambda *_: getattr(scale, "real", 2.0))(x, y)
    settings = {
        "guide": lambda x, y, scale: guide(x, y),
        "arguments": lambda i: (*data(), object() if i in (5, 6, 9) else 1.0),
        "steps": 14,
    }
    expected, _ = losses(SVI, model, **settings)
    with pytest.warns(EagerWarning, match="such steps eagerly: .*builtins.object") as caught:
        found, svi = losses(CompiledSVI, model, **settings)
    assert len([w for w in caught if w.category is EagerWarning]) == 1
    assert found == expected
    assert [step.taken for step in steps_of(svi)] == [9]


def given(argument):
    """Settings of a run whose model gets a third argument, and scales the data by what it makes of it."""
    return {
        "guide": lambda x, y, _: guide(x, y),
        "arguments": lambda i: (*data(), argument(i)),
        "steps": 12,
    }


def test_arrays_are_told_apart_by_their_content():
    model = lambda x, y, scale: model_with(lambda *_: torch.as_tensor(scale).sum())(x, y)
    assert_replayed_equals(model, 1, **given(lambda i: np.ones(3)))
    held = np.ones(3)

    def written(i):
        held[1] = 1.0 if i < 6 else 2.0
        return held

    assert_replayed_equals(model, 2, **given(written))


def test_modules_and_functions_are_looked_into():
    layer, settings = torch.nn.Linear(1, 1), {"scale": 1.0}

    def changed(i):
        settings["scale"] = 1.0 if i < 5 else 2.0
        layer.weight.data.fill_(0.1 * i)
        return layer, pointed

    def pointed():
        return settings["scale"]

    def model(x, y, pair):
        net, function = pair
        model_with(lambda slope, x: 1.0 + net(x[:, :1]).exp().squeeze(-1) * function())(x, y)

    svi = assert_replayed_equals(model, 1, **given(changed))
    assert svi._changes == 1


def test_the_same_tensor_given_twice_is_told_from_two():
    model = lambda x, y, pair: model_with(lambda *_: 1.0 + pair[0] * pair[1].exp())(x, y)
    ones, twos = torch.ones(()), torch.full((), 2.0)
    assert_replayed_equals(model, 2, **given(lambda i: (ones, ones if i < 6 else twos)))


def test_what_is_given_and_held_as_well_is_told_apart():
    held = torch.ones(())
    model = lambda x, y, scale: model_with(lambda *_: held + scale)(x, y)
    other = torch.full((), 3.0)
    assert_replayed_equals(model, 1, **given(lambda i: held if i < 6 else other))
