"""The packed triangle times a vector, by each way of computing it."""

from __future__ import annotations

import numpy as np
import pytest
from triangles import filled

pyro_only = pytest.mark.parametrize("twin", ["pyro"], indirect=True)
jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
BATCHES = [((), ()), ((3,), (3,)), ((3,), (2, 3)), ((1,), (5,))]
# where a product is packed, and where row by row
LIMITS = {
    "packed": {"PACKED_LIMIT": 64, "ROWS_ABOVE": 64},
    "filled": {"PACKED_LIMIT": 0, "ROWS_ABOVE": 64},
    "row by row": {"PACKED_LIMIT": 64, "ROWS_ABOVE": 0, "ROWS_FROM": 0},  # of any shapes
}
ways = pytest.mark.parametrize("way", LIMITS)


@pytest.fixture
def triangle(twin, monkeypatch):
    """`triangle(way)`: the module, whose products go that way."""

    def chosen(way):
        module = twin.module("programs.triangle")
        for name, limit in LIMITS[way].items():
            monkeypatch.setattr(module, name, limit)
        return module

    return chosen


@ways
@pytest.mark.parametrize("batches", BATCHES)
def test_the_packed_product_is_the_triangle_times_the_vector(twin, triangle, way, batches):
    """Value and both gradients, by each way of computing it."""
    rng = np.random.default_rng(0)
    lower, vector = rng.normal(size=(*batches[0], 6)), rng.normal(size=(*batches[1], 4))
    product = triangle(way).packed_product
    tril = filled(np.zeros((*batches[0], 4)), lower)
    expected = (tril @ vector[..., None])[..., 0]
    got = twin.numpy(product(twin.array(lower), twin.array(vector)))
    np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)
    weights = rng.normal(size=expected.shape)
    total = lambda *given: (product(*given) * twin.array(weights)).sum()
    by_lower, by_vector = twin.gradients(total, twin.array(lower), twin.array(vector))
    outer = (weights[..., None] * vector[..., None, :])[..., *np.tril_indices(4, -1)]
    leading = outer.reshape(-1, *outer.shape[-1 - len(batches[0]) :])
    summed = leading.sum(0).reshape(-1, *lower.shape).sum(0) if batches[0] != (1,) else outer.sum(0)
    np.testing.assert_allclose(by_lower, summed.reshape(lower.shape), rtol=1e-12, atol=1e-13)
    back = (tril.mT @ weights[..., None])[..., 0]
    np.testing.assert_allclose(by_vector, back, rtol=1e-12, atol=1e-13)


def test_many_components_go_row_by_row_without_a_matrix(twin):
    """Beyond 64 of them on a CPU: nothing of K × K numbers is made, in the gradient neither."""
    k, rng = 130, np.random.default_rng(0)
    lower, vector = rng.normal(size=(64, k * (k - 1) // 2)), rng.normal(size=(64, k))
    product = twin.module("programs.triangle").packed_product
    expected = (filled(np.zeros((64, k)), lower) @ vector[..., None])[..., 0]
    given = twin.array(lower), twin.array(vector)
    np.testing.assert_allclose(twin.numpy(product(*given)), expected, rtol=1e-12, atol=1e-13)
    if twin.name == "numpyro":
        square = lambda *given: (product(*given) ** 2).sum()
        lowered = twin.jax.jit(twin.jax.grad(square, (0, 1))).lower(*given)
        assert f"{k * (k - 1) // 2}xf64" in lowered.as_text()
        assert f"{k}x{k}xf64" not in lowered.as_text()
        return
    given = [tensor.requires_grad_() for tensor in given]
    recorder = twin.module("compiled.capture").Recorder([], given)
    with recorder:
        twin.torch.autograd.grad(product(*given).square().sum(), given)
    taken = {node.operation for node in recorder.graph.nodes}
    ours, aten = twin.torch.ops.twinplate, twin.torch.ops.aten
    names = ("triangle_product", "triangle_transposed", "triangle_outer")
    assert taken >= {getattr(ours, name).default for name in names}
    assert not taken & {aten.index_select.default, aten.mm.default, aten.bmm.default}


@jax_only
def test_products_row_by_row_go_through_every_transformation(twin, triangle):
    jax, product = twin.jax, triangle("row by row").packed_product
    rng = np.random.default_rng(0)
    lower, vector = (twin.array(rng.normal(size=(3, n))) for n in (6, 4))
    plain = product(lower, vector)
    np.testing.assert_array_equal(jax.vmap(product)(lower, vector), plain)
    np.testing.assert_allclose(jax.vmap(product, (1, 1))(lower.T, vector.T), plain, rtol=1e-14)
    one = jax.vmap(product, (0, None))(lower, vector[0])
    np.testing.assert_allclose(one[0], plain[0], rtol=1e-14)
    _, tangent = jax.jvp(product, (lower, vector), (2 * lower, vector))
    np.testing.assert_allclose(tangent, 3 * plain, rtol=1e-14)
    by_rows = jax.hessian(lambda *g: (product(*g) ** 3).sum(), (0, 1))(lower[0], vector[0])
    at_once = triangle("filled").packed_product
    filled = jax.hessian(lambda *g: (at_once(*g) ** 3).sum(), (0, 1))(lower[0], vector[0])
    for got, expected in zip(jax.tree.leaves(by_rows), jax.tree.leaves(filled), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


@jax_only
@pytest.mark.parametrize("limit", [0, 64])
def test_products_on_an_accelerator_are_those_row_by_row(twin, monkeypatch, limit):
    """Where they are filled or packed, as no loop over rows would be fast."""
    module, rows = twin.module("programs.triangle"), twin.module("programs.row_products")
    monkeypatch.setattr(module, "PACKED_LIMIT", limit)
    rng = np.random.default_rng(0)
    lower, column, row = (twin.array(rng.normal(size=(3, n))) for n in (6, 4, 4))
    for name, given in {
        "product": (lower, row),
        "transposed": (lower, column),
        "outer": (column, row),
    }.items():
        at_once = getattr(module, f"_{name}_at_once")(*given)
        np.testing.assert_allclose(getattr(rows, name)(*given), at_once, rtol=1e-13, atol=1e-14)


@pyro_only
def test_products_row_by_row_are_differentiable_twice_and_map(twin):
    torch, rows = twin.torch, twin.module("programs.row_products")
    rng = np.random.default_rng(0)
    lower, vector = (twin.array(rng.normal(size=(3, n))).requires_grad_() for n in (6, 4))
    for name, given in {
        "product": (lower, vector),
        "transposed": (lower, vector),
        "outer": (vector, vector.detach().flip(0).requires_grad_()),
    }.items():
        function = getattr(rows, name)
        assert torch.autograd.gradcheck(function, given)
        assert torch.autograd.gradgradcheck(function, given)
        plain = function(*given)
        torch.testing.assert_close(torch.vmap(function)(*given), plain, rtol=1e-14, atol=0)
        first = torch.vmap(function, (0, None))(given[0], given[1][0])
        torch.testing.assert_close(first[0], plain[0], rtol=1e-14, atol=0)
        single = given[0][0].detach(), given[1][0].detach()
        jacobian = torch.func.jacrev(function)(*single)
        torch.testing.assert_close(jacobian @ single[0], plain[0], rtol=1e-13, atol=1e-14)


@pyro_only
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("batches", BATCHES)
def test_a_captured_product_goes_row_by_row(twin, batches, k):
    """Value and gradients, recorded for a compiler, are those of the eager product, without 0/1 matrices."""
    torch, product = twin.torch, twin.module("programs.triangle").packed_product
    rng = np.random.default_rng(0)
    lower = twin.array(rng.normal(size=(*batches[0], k * (k - 1) // 2))).requires_grad_()
    vector = twin.array(rng.normal(size=(*batches[1], k)))

    def work(vector):
        result = product(lower, vector)
        return result.detach(), *torch.autograd.grad(result.square().sum(), [lower])

    recorder = twin.module("compiled.capture").Recorder([vector], [lower])
    with twin.module("capturing").capturing(machine_code=True), recorder:
        found = work(vector)
    taken = {node.operation for node in recorder.graph.nodes}
    assert torch.ops.aten.mul.Tensor in taken and torch.ops.aten.mm.default not in taken
    for got, expected in zip(found, work(vector), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-14)


@pyro_only
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by torch
@pytest.mark.parametrize(("rows", "limit"), [(64, 128), (0, 128), (0, 0)])
def test_torch_compile_takes_the_product_without_a_break(twin, monkeypatch, rows, limit):
    """Row by row, with 0/1 matrices, and filled."""
    monkeypatch.setattr(twin.module("programs.triangle"), "ROWS_LIMIT", rows)
    monkeypatch.setattr(twin.module("programs.triangle"), "PACKED_LIMIT", limit)
    twin.torch.compiler.reset()  # what was compiled by another test
    torch, product = twin.torch, twin.module("programs.triangle").packed_product
    rng = np.random.default_rng(0)
    lower, vector = (twin.array(rng.normal(size=(3, n))).requires_grad_() for n in (6, 4))
    compiled = torch.compile(product, fullgraph=True, backend="aot_eager")
    results = [f(lower, vector) for f in (product, compiled)]
    torch.testing.assert_close(*results, rtol=1e-13, atol=1e-14)
    gradients = [torch.autograd.grad(r.square().sum(), [lower, vector]) for r in results]
    torch.testing.assert_close(*gradients, rtol=1e-13, atol=1e-14)


@pyro_only
def test_the_product_row_by_row_is_differentiable_twice_and_maps(twin):
    torch, row_by_row = twin.torch, twin.module("programs.triangle")._RowByRow.apply
    rng = np.random.default_rng(0)
    lower, vector = (twin.array(rng.normal(size=(3, n))).requires_grad_() for n in (6, 4))
    assert torch.autograd.gradcheck(row_by_row, (lower, vector))
    assert torch.autograd.gradgradcheck(row_by_row, (lower, vector))
    mapped = torch.vmap(row_by_row)(lower, vector)
    torch.testing.assert_close(mapped, row_by_row(lower, vector), rtol=1e-14, atol=0)
