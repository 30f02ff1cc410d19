"""What would be wrong without a word: Python reads a tensor, parameters are frozen, a factorisation fails."""

from __future__ import annotations

import math
import runpy

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import ITEMS, batches
from compiled_runs import assert_eager_equals, assert_replayed_equals, guide, losses, model_with
from pyro.infer import SVI
from torch import nn
from torch.nn.utils import rnn

from pyro_impl import CompiledSVI

pytestmark = pytest.mark.usefixtures("own_world")

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
def test_a_number_that_python_reads_from_a_tensor_is_confirmed_by_every_step(name, kind):
    tensor = torch.ones(3) if kind is torch.Tensor else kind(torch.ones(3), requires_grad=False)
    density = lambda *_: torch.as_tensor(READS[name](tensor))

    def each(i):
        tensor.fill_(1.0 if i < 5 or i > 8 else 2.0)

    assert_replayed_equals(model_with(density), 2, each=each, steps=14)


@pytest.mark.parametrize(
    "read", [float, bool, int, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy]
)
def test_a_number_that_python_reads_from_a_tensor_of_one_is_confirmed(read):
    tensor = torch.ones(())

    def each(i):
        tensor.fill_(1.0 if i < 5 else 3.0)

    density = lambda *_: torch.as_tensor(1.0 + read(tensor))
    assert_replayed_equals(model_with(density), 2, each=each, steps=10)


@pytest.mark.parametrize(
    "density",
    [
        lambda slope, x: 1.0 + abs(slope.item()),
        lambda slope, x: 1.0 + abs(slope.tolist()),
        lambda slope, x: torch.tensor(1.0 + slope.detach().numpy() ** 2),
    ],
    ids=["item", "tolist", "numpy"],
)
def test_a_number_that_is_drawn_runs_eagerly(density):
    reason = r"value of a tensor.*test_compiled_dangers.py, line \d+"
    assert_eager_equals(model_with(density), reason, steps=4)


def of_packed(x, counts, network):
    """Rows of x as sequences of these lengths, through a network."""
    packed = rnn.pack_padded_sequence(
        x.reshape(3, 4, 3), counts, batch_first=True, enforce_sorted=False
    )
    found = packed if network is None else network(packed)[0]
    return rnn.pad_packed_sequence(found, batch_first=True)[0].cumsum(1)


NETWORKS = {kind.__name__: kind(3, 2).double() for kind in (nn.RNN, nn.GRU, nn.LSTM)}

# What torch reads of a tensor and shows no operation for.
READ_BENEATH = {
    "tensor": lambda x, counts: torch.tensor([[counts[0], counts[1]]]),
    "tensor, by name": lambda x, counts: torch.tensor(data=(counts[0], 2.0)),
    "as_tensor": lambda x, counts: torch.as_tensor([counts[0]]),
    "asarray": lambda x, counts: torch.asarray([counts[0]]),
    "new_tensor": lambda x, counts: x.new_tensor([counts[0]]),
    "tensor_split": lambda x, counts: torch.tensor_split(x, counts[:2])[1],
    "tensor_split, a method": lambda x, counts: x.tensor_split(
        tensor_indices_or_sections=counts[:2]
    )[1],
    "padded": lambda x, counts: of_packed(x, counts, None),
    "RNN": lambda x, counts: of_packed(x, counts, NETWORKS["RNN"]),
    "GRU": lambda x, counts: of_packed(x, counts, NETWORKS["GRU"]),
    "LSTM": lambda x, counts: of_packed(x, counts, NETWORKS["LSTM"]),
}


@pytest.mark.parametrize("name", READ_BENEATH)
def test_what_torch_reads_beneath_its_operations_is_confirmed_by_every_step(name):
    """The first two have the same sum: rows that are packed are as many, and no shape tells them apart."""
    counts = [torch.tensor(c) for c in ([2, 4, 3], [1, 4, 4], [3, 4, 1])]

    def model(x, counts):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("items", len(x)):
            scale = 1.0 + READ_BENEATH[name](x, counts).double().square().sum()
            pyro.sample("y", dist.Normal(slope * x[:, 0], scale), obs=x[:, 1])

    def arguments(i):
        return batches(ITEMS)[0][0], counts[0 if i < 5 else i % 3]

    assert_replayed_equals(model, 3, arguments=arguments, guide=lambda x, _: guide(x, x), steps=16)


def test_a_tensor_made_of_one_that_is_drawn_runs_eagerly():
    density = lambda slope, x: torch.tensor([1.0, abs(slope.detach())]).sum()
    reason = r"value of a tensor.*test_compiled_dangers.py, line \d+"
    assert_eager_equals(model_with(density), reason, steps=4)


SIZES = {
    "x[mask]": lambda x, ok: x[ok].sum(),
    "masked_select": lambda x, ok: torch.masked_select(x, ok).sum(),
    "nonzero": lambda x, ok: x[ok.nonzero().squeeze(-1)].sum(),
    "repeat": lambda x, ok: torch.repeat_interleave(x, ok.long()).sum(),
    "unique": lambda x, ok: torch.unique(x * ok).sum(),
    "written": lambda x, ok: torch.zeros(len(x)).masked_fill_(ok, 2.0)[ok].sum() + x[ok].sum(),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_depends_on_data_is_confirmed_by_every_step(name):
    """Two of them are two records, in turns too; nothing is drawn by the one that does not apply."""
    ok = torch.arange(12) % 3 > 0
    density = lambda slope, x: 1.0 + SIZES[name](x[:, 0], ok).square()

    def each(i):
        ok[5] = i < 5 or i % 2

    assert_replayed_equals(model_with(density), 2, each=each, steps=16)


def test_a_branch_by_a_draw_is_a_record_for_each():
    density = lambda slope, x: 1.0 if slope > 0 else 2.0 + slope
    assert_replayed_equals(model_with(density), 2, steps=20)


def test_sizes_that_are_other_ones_all_the_time_run_eagerly():
    ok = torch.zeros(12, dtype=torch.bool)

    def each(i):
        ok[: i % 11] = True
        ok[i % 11 :] = False

    density = lambda slope, x: 1.0 + x[ok].square().sum()
    reason = r"a size .*another one from step to step.*test_compiled_dangers.py, line \d+"
    assert_eager_equals(model_with(density), reason, each=each, steps=24)


def test_an_average_is_taken_once_where_a_record_does_not_apply():
    """What a step has written into before a number was another one is given back."""
    norm, ok = torch.nn.BatchNorm1d(3), torch.ones(12, dtype=torch.bool)

    def density(slope, x):
        return 1.0 + norm(x + slope)[ok].square().mean()

    def each(i):
        ok[0] = i < 5

    def run(kind):
        norm.reset_running_stats()
        found, _ = losses(kind, model_with(density), each=each, steps=12)
        return found, norm.running_mean.clone(), int(norm.num_batches_tracked)

    expected, found = run(SVI), run(CompiledSVI)
    assert found[0] == expected[0] and found[2] == expected[2] == 12
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("folder", ["torch", "pyro", "pyro_impl"])
def test_a_line_in_a_folder_of_the_user_called_like_a_library_is_named(tmp_path, folder):
    path = tmp_path / folder / "vae.py"
    path.parent.mkdir()
    path.write_text("def density(slope, x):\n    return 1.0 + abs(slope.detach().item())\n")
    density = runpy.run_path(str(path))["density"]
    assert_eager_equals(model_with(density), rf"value of a tensor.*{folder}/vae.py, line 2")


def failing_factorisation():
    """(density, each): at step 5 there is no Cholesky factor; the loss needs no determinant, which is nan."""
    matrix = torch.eye(2)

    def each(i):
        matrix.copy_(torch.eye(2) if i != 5 else torch.tensor([[1.0, 2.0], [2.0, 1.0]]))

    def density(slope, x):
        factor = torch.linalg.cholesky(matrix)
        return 1.0 + torch.cholesky_solve(torch.ones(2, 1), factor).square().sum()

    return density, each


def test_a_factorisation_that_fails_raises_as_in_pyro():
    density, each = failing_factorisation()
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        losses(CompiledSVI, model_with(density), each=each, steps=8)


def test_in_machine_code_a_factorisation_that_fails_gives_a_loss_of_nan(interpreted):
    density, each = failing_factorisation()
    with pytest.warns(UserWarning, match="Encountered NaN: loss"):
        found, svi = losses(CompiledSVI, model_with(density), each=each, steps=8, machine_code=True)
    assert math.isnan(found[5]) and not svi._eager
    assert all(map(math.isfinite, found[:5] + found[6:]))
