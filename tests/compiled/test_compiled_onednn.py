"""Large matrix products of captured graphs: the numbers of torch's own, whatever the factors' layouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiled_runs import traced
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_impl.compiled import onednn as products
from pyro_impl.compiled.compilation import begin_compiling

READ_MAKER = products.is_amd.__wrapped__  # not the one that is kept
LINEAR = torch.ops.twinplate.linear.default


class Spy(TorchDispatchMode):
    """Remembers the operands of every `twinplate::linear`."""

    def __init__(self):
        super().__init__()
        self.operands = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is LINEAR:
            self.operands.append(args)
        return func(*args, **(kwargs or {}))


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def layouts(rows, columns, seed):
    """The same matrix in C order, in Fortran order, as part of wider rows, and as every other row."""
    matrix = numbers(rows, columns, seed=seed)
    wide, tall = torch.zeros(rows, 2 * columns), torch.zeros(2 * rows, columns)
    wide[:, :columns], tall[::2] = matrix, matrix
    return {
        "C": matrix,
        "F": matrix.t().contiguous().t(),
        "part": wide[:, :columns],
        "stride": tall[::2],
    }


def run(function, *arguments):
    """What the captured graph returns, operation by operation, and the operands of its large products."""
    several = lambda *inputs: found if isinstance(found := function(*inputs), tuple) else (found,)
    graph = traced(several, list(arguments))
    with Spy() as spy, torch.no_grad():
        result = graph.module(*graph.tensors, *arguments)
    return result if len(result) > 1 else result[0], spy.operands


@pytest.fixture(autouse=True)
def every_product_is_large(monkeypatch):
    monkeypatch.setattr(products, "LEAST", 1)
    monkeypatch.setattr(products, "LEAST_REARRANGED", 1)
    monkeypatch.setattr(products, "is_amd", lambda: True)


def close_to(found, left, right, bias=0.0):
    exact = left.double() @ right.double() + bias
    # Rounding of a sum of k products: below k ε times the product of sizes, for any order of adding.
    limit = left.shape[1] * 2**-24 * (left.double().abs() @ right.double().abs() + abs(bias))
    assert found.dtype == torch.float32
    assert ((found.double() - exact).abs() <= limit).all()


@pytest.mark.parametrize("size", [(5, 7, 3), (3, 4, 40), (40, 3, 4), (1, 6, 1)])
@pytest.mark.parametrize("right", ["C", "F", "part", "stride"])
@pytest.mark.parametrize("left", ["C", "F", "part", "stride"])
def test_a_product_of_any_layout(left, right, size):
    m, k, n = size
    a, b = layouts(m, k, 1)[left], layouts(k, n, 2)[right]
    found, operands = run(torch.mm, a, b)
    close_to(found, a, b)
    ((rows, weight, bias),) = operands
    assert (
        bias is None and rows.is_contiguous()
    )  # other layouts take oneDNN hundreds of times as long
    assert weight.is_contiguous() or weight.t().is_contiguous()
    assert found.stride() == torch.mm(a, b).stride()


@pytest.mark.parametrize("weight", ["C", "F", "part", "stride"])
@pytest.mark.parametrize("x", ["C", "F", "part", "stride"])
def test_a_layer_and_its_gradients(x, weight):
    x, weight = layouts(6, 5, 1)[x], layouts(4, 5, 2)[weight].detach().requires_grad_()
    bias, out = numbers(4, seed=3).requires_grad_(), numbers(6, 4, seed=4)

    def gradients(x):
        y = torch.nn.functional.linear(x, weight, bias)
        return y.detach(), *torch.autograd.grad((y * out).sum(), [weight, bias])

    (y, of_weight, of_bias), operands = run(gradients, x)
    assert [o[2] is bias for o in operands] == [True, False]
    with torch.no_grad():
        close_to(y, x, weight.t(), bias.double())
        close_to(of_weight, out.t(), x)
        torch.testing.assert_close(of_bias, out.sum(0))


def test_the_smaller_factor_is_rearranged():
    """(m, k) from columns: right (k, n) and the result are fewer numbers, or left is."""
    wide, narrow = numbers(50, 40, seed=1).t(), numbers(50, 3, seed=2)
    _, ((rows, weight, _),) = run(torch.mm, wide, narrow)
    assert rows.shape == (3, 50) and weight.data_ptr() == wide.data_ptr()
    _, ((rows, weight, _),) = run(torch.mm, narrow.t(), wide.t().contiguous())
    assert rows.shape == (3, 50)


@pytest.mark.parametrize(
    "case", ["small", "double", "scaled", "bias of a matrix", "another maker's CPU"]
)
def test_others_are_left_to_torch(case, monkeypatch):
    dtype = torch.float64 if case == "double" else torch.float32
    a, b = numbers(4, 5, dtype=dtype), numbers(5, 3, seed=1, dtype=dtype)
    c = (
        numbers(4, 3, seed=2, dtype=dtype)
        if case == "bias of a matrix"
        else torch.ones(3, dtype=dtype)
    )
    if case == "small":
        monkeypatch.setattr(products, "LEAST", 2 * 4 * 5 * 3 + 1)
    if case == "another maker's CPU":
        monkeypatch.setattr(products, "is_amd", lambda: False)
    alpha = 2 if case == "scaled" else 1
    found, operands = run(lambda c, a, b: torch.addmm(c, a, b, alpha=alpha), c, a, b)
    assert not operands
    torch.testing.assert_close(found, torch.addmm(c, a, b, alpha=alpha))


def test_rows_out_of_order_have_to_be_worth_it(monkeypatch):
    a, b = numbers(5, 4).t(), numbers(5, 3)
    monkeypatch.setattr(products, "LEAST_REARRANGED", 2 * 4 * 5 * 3 + 1)
    assert not run(torch.mm, a, b)[1]
    assert run(torch.mm, a.contiguous(), b)[1]


def test_a_result_can_be_viewed():
    """As that of torch's own product can, which a transposed one could not."""
    a, b = numbers(50, 40, seed=1).t(), numbers(50, 3, seed=2)
    found, operands = run(lambda a, b: (a @ b).view(-1), a, b)
    assert operands
    close_to(found.view(40, 3), a, b)


@pytest.mark.parametrize("weight", ["C", "F"])
@pytest.mark.parametrize("bias", [numbers(4, seed=3), None], ids=["bias", "no bias"])
def test_a_compiler_is_told_what_it_returns(weight, bias):
    """Shape, strides and type, and that it changes nothing that it is given."""
    operands = numbers(6, 5, seed=1), layouts(4, 5, 2)[weight], bias
    torch.library.opcheck(LINEAR, operands, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.slow  # torch's compiler takes 15 s, and takes other graphs in test_compiled_in_background.py
def test_compiled():
    """By torch's compiler, with operands that it computes itself."""
    a, b = numbers(64, 48, seed=1), numbers(64, 32, seed=2)

    def gradients(a, b):
        left = torch.sin(a).t()
        return left @ b, torch.nn.functional.linear(left, b.t())

    graph = traced(gradients, [a, b])
    assert sum(node.target is LINEAR for node in graph.module.graph.nodes) == 2
    for found in begin_compiling(graph, [a, b], [])()(a, b):
        torch.testing.assert_close(found, torch.sin(a).t() @ b)


@pytest.mark.parametrize(("maker", "expected"), [("AuthenticAMD", True), ("GenuineIntel", False)])
@pytest.mark.parametrize("listed", [True, False])
def test_the_maker_of_the_cpu(maker, expected, listed, tmp_path, monkeypatch):
    """As Linux lists it, or as Windows says it."""
    path = tmp_path / "cpuinfo"
    if listed:
        path.write_text(f"processor\t: 0\nvendor_id\t: {maker}\n")
    monkeypatch.setattr(products, "Path", lambda name: path)
    monkeypatch.setattr(products.platform, "processor", lambda: f"Family 25 Model 1, {maker}")
    assert READ_MAKER() is expected
