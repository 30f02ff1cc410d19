"""What would be wrong without a word: Python reads a tensor, parameters are frozen, a factorisation fails."""

from __future__ import annotations

import math
import runpy

import numpy as np
import pytest
import torch
from compiled_runs import assert_eager_equals, losses, model_with

from pyro_impl import CompiledSVI

pytestmark = pytest.mark.usefixtures("own_world", "interpreted")

READS = {
    "float": lambda t: float(t[0]),
    "item": lambda t: 1.0 + t.sum().item() - float(t.sum() - t[0]),
    "if": lambda t: 2.0 if t[0] > 1.5 else 1.0,
    "0-d": lambda t: float(t[0].clone()),
    "equal": lambda t: 1.0 if torch.equal(t, torch.ones(3)) else 2.0,
    "tolist": lambda t: t.tolist()[0],
    "numpy": lambda t: t.numpy()[0],
    "asarray": lambda t: float(np.asarray(t)[0]),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("kind", [torch.Tensor, torch.nn.Parameter])
def test_a_number_that_python_reads_from_a_tensor_runs_eagerly(name, kind):
    tensor = torch.ones(3) if kind is torch.Tensor else kind(torch.ones(3), requires_grad=False)
    density = lambda *_: torch.as_tensor(READS[name](tensor))

    def each(i):
        tensor.fill_(1.0 if i < 5 else 2.0)

    reason = r"(value of a tensor|cannot be traced).*test_compiled_dangers.py, line \d+"
    assert_eager_equals(model_with(density), reason, each=each, steps=8)


@pytest.mark.parametrize(
    "read", [float, bool, int, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy]
)
def test_a_number_that_python_reads_from_a_tensor_of_one_runs_eagerly(read):
    tensor = torch.ones(())

    def each(i):
        tensor.fill_(1.0 if i < 5 else 3.0)

    reason = r"value of a tensor.*test_compiled_dangers.py, line \d+"
    density = lambda *_: torch.as_tensor(1.0 + read(tensor))
    assert_eager_equals(model_with(density), reason, each=each, steps=8)


@pytest.mark.parametrize("folder", ["torch", "pyro", "pyro_impl"])
def test_a_line_in_a_folder_of_the_user_called_like_a_library_is_named(tmp_path, folder):
    path = tmp_path / folder / "vae.py"
    path.parent.mkdir()
    path.write_text("def density(slope, x):\n    return 1.0 if slope > 0 else 2.0\n")
    density = runpy.run_path(str(path))["density"]
    assert_eager_equals(model_with(density), rf"value of a tensor.*{folder}/vae.py, line 2")


def test_a_factorisation_that_fails_gives_a_loss_of_nan():
    """Also where the loss needs no determinant, which would be nan by itself."""
    matrix = torch.eye(2)

    def each(i):
        matrix.copy_(torch.eye(2) if i != 5 else torch.tensor([[1.0, 2.0], [2.0, 1.0]]))

    def density(slope, x):
        factor = torch.linalg.cholesky(matrix)
        return 1.0 + torch.cholesky_solve(torch.ones(2, 1), factor).square().sum()

    with pytest.warns(UserWarning, match="Encountered NaN: loss"):
        found, svi = losses(CompiledSVI, model_with(density), each=each, steps=8)
    assert math.isnan(found[5]) and not svi._eager
    assert all(map(math.isfinite, found[:5] + found[6:]))
