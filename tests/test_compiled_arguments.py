"""Arguments of a compiled step: shapes, types and plain values have graphs of their own, others none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiled_cases import data
from compiled_runs import assert_compiled_equals, assert_eager_equals, guide, losses, model_with

from pyro_impl import CompiledSVI, EagerWarning

pytestmark = pytest.mark.usefixtures("own_world")


def test_a_number_as_an_argument_that_changes_at_every_step_runs_eagerly(interpreted):
    def model(x, y, scale):
        model_with(lambda *_: scale)(x, y)

    x, y = data()
    with pytest.warns(EagerWarning, match="16 different shapes or values"):
        found, svi = losses(
            CompiledSVI,
            model,
            steps=20,
            guide=lambda x, y, scale: guide(x, y),
            arguments=lambda i: (x, y, 1.0 + 0.1 * i),
        )
    assert not svi._steps and len(found) == 20


def test_a_batch_of_one_is_not_broadcast(interpreted):
    x, y = data()
    sizes = [8, 8, 8, 1, 1, 1, 8, 1]
    assert_compiled_equals(
        model_with(lambda *_: 1.0), 2, steps=8, arguments=lambda i: (x[: sizes[i]], y[: sizes[i]])
    )


def test_types_and_plain_values_have_graphs_of_their_own(interpreted):
    def model(x, y, power):
        model_with(lambda *_: 1.0 + power)(x.to(y.dtype), y)

    x, y = data()
    kinds = [(x, y, 1), (x, y, 2), (x.float(), y, 1), (x, y, True), (x.mT.contiguous().mT, y, 1)]
    settings = {"guide": lambda x, y, power: guide(x, y), "steps": 20}
    assert_compiled_equals(model, 5, arguments=lambda i: kinds[i % 5], **settings)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        (np.ones(3), "numpy.ndarray"),
        (torch.ones(3, requires_grad=True), "requires a gradient"),
        (torch.eye(3).to_sparse(), "is sparse"),
        (object(), "builtins.object"),
    ],
)
def test_arguments_that_are_no_plain_values_run_eagerly(interpreted, argument, reason):
    model = lambda x, y, other: model_with(lambda *_: 1.0)(x, y)
    assert_eager_equals(
        model, reason, guide=lambda x, y, _: guide(x, y), arguments=lambda i: (*data(), argument)
    )
