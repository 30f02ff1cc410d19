"""A whole record of a Pyro program: the operations it lists, and the same record made again."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import X

torch = pytest.importorskip("torch")
pytest.importorskip("pyro")

from record_pyro_programs import local_guide, local_model  # noqa: E402
from torch import nn  # noqa: E402

from pyro_impl.recording.operations import Operations  # noqa: E402
from pyro_impl.recording.program import Program  # noqa: E402


def test_operations_have_their_telling_options():
    x, names = torch.ones(2, 3), set()
    with Operations(names):
        nn.GELU(approximate="tanh")(x)
        nn.LayerNorm(3, eps=1e-6)(x)
        nn.functional.softplus(x)
        x.std(0, False)
        torch.var(x, dim=0)
        torch.std(x, 1, correction=2)
        x.cumsum(0)
    assert names >= {
        "gelu(approximate=tanh)",
        "layer_norm(eps=1e-06)",
        "softplus(beta=1, threshold=20)",
        "std(correction=0)",
        "std(correction=2)",
        "var(correction=1)",
        "cumsum",
    }


@pytest.mark.parametrize(
    ("cast", "said"),
    [
        (lambda x, n: x.float(), "float64 to float32"),
        (lambda x, n: x.to(torch.float16), "float64 to float16"),
        (lambda x, n: n.type(torch.float32), "int64 to float32"),
        (lambda x, n: torch.tensor([0.5], dtype=torch.float32), "numbers to float32"),
        (lambda x, n: x.float()[n], "float64 to float32"),
        (lambda x, n: x[n] * 2, None),
        (lambda x, n: (n == 1).float(), None),
        (lambda x, n: n.double() * x, None),
    ],
)
def test_casts_to_fewer_digits_are_operations(cast, said):
    names, x, n = set(), torch.tensor([0.5, 0.1], dtype=torch.float64), torch.tensor([0, 1])
    with Operations(names):
        cast(x, n)
    assert {name for name in names if " to " in name} == ({said} if said else set())


def test_a_record_is_like_itself():
    first = Program(local_model, local_guide).record((X,), seeds=(0, 1), particles=2)
    second = Program(local_model, local_guide).record((X,), like=first)
    assert first.runs.keys() == second.runs.keys()
    for key, run in first.runs.items():
        np.testing.assert_array_equal(run.loss, second.runs[key].loss)
    assert not np.array_equal(first.runs["0", "float64"].loss, first.runs["1", "float64"].loss)
