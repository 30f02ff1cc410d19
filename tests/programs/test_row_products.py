"""Products row by row: where they are taken, and under every transformation, against filled matrices."""

from __future__ import annotations

import gc
import importlib
import sys

import numpy as np
import pytest
from triangles import filled

from twinplate.errors import InputError

pyro_only = pytest.mark.parametrize("twin", ["pyro"], indirect=True)
jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
scripts = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # by torch
K, M = 66, 66 * 65 // 2
# leading shapes of triangles and vectors, and whether the product goes row by row
PLACES = [
    ((125,), (125,), True),
    ((125,), (1, 125), True),
    ((5, 25), (5, 25), True),
    ((), (), False),
    ((9,), (9,), False),
    ((), (1000,), False),
    ((1,), (200,), False),
    ((200,), (), False),
    ((5, 1), (5, 200), False),
    ((9,), (100, 9), False),
]


def given(*shapes, seed=0):
    """A triangle and a vector of these leading shapes, in NumPy."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(*shape, last)) for shape, last in zip(shapes, (M, K), strict=True)]


def by_matrix(lower, vector):
    return (filled(np.zeros((*lower.shape[:-1], K)), lower) @ vector[..., None])[..., 0]


@pytest.fixture
def product(twin, monkeypatch):
    """Row by row however few the items are."""
    monkeypatch.setattr(twin.module("programs.triangle"), "ROWS_FROM", 1, raising=False)
    return twin.module("programs.triangle").packed_product


@pytest.mark.parametrize(("lower", "vector", "is_taken"), PLACES)
def test_rows_are_taken_where_each_of_many_items_has_a_triangle(
    twin, monkeypatch, lower, vector, is_taken
):
    triangle = twin.module("programs.triangle")
    arrays = given(lower, vector)
    lower, vector = map(twin.array, arrays)
    if twin.name == "numpyro":
        taken = "triangle_product" in str(
            twin.jax.make_jaxpr(triangle.packed_product)(lower, vector)
        )
    else:
        calls, plain = [], triangle.product
        monkeypatch.setattr(triangle, "product", lambda *g: calls.append(g) or plain(*g))
        triangle.packed_product(lower, vector)
        taken = bool(calls)
    assert taken is is_taken
    found = twin.numpy(triangle.packed_product(lower, vector))
    np.testing.assert_allclose(found, by_matrix(*arrays), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [M - 1, M + 1, K])
def test_a_triangle_of_another_length_is_refused(twin, length):
    product = twin.module("programs.triangle").packed_product
    with pytest.raises(InputError, match=f"{M}"):
        product(twin.array(np.zeros((200, length))), twin.array(np.zeros((200, K))))


# -------------------------------------------------------------------------------------------- JAX


@jax_only
def test_one_triangle_is_not_repeated_for_many_vectors_under_vmap(twin, product):
    """Neither in the gradient: it would be 7 × 2 triangles."""
    jax = twin.jax
    arrays = given((2,), (7, 2))
    lower, vector = map(twin.array, arrays)
    mapped = jax.vmap(product, (None, 0))
    np.testing.assert_allclose(mapped(lower, vector), by_matrix(*arrays), rtol=1e-12, atol=1e-12)
    across = jax.vmap(product, (None, 1), 2)(lower, vector.swapaxes(0, 1))
    np.testing.assert_allclose(across, np.moveaxis(mapped(lower, vector), 0, 2), rtol=1e-13)
    gradient = jax.grad(lambda *g: (mapped(*g) ** 2).sum(), (0, 1))
    text = jax.jit(gradient).lower(lower, vector).as_text()
    assert f"2x{M}xf64" in text and f"7x2x{M}xf64" not in text
    tril = filled(np.zeros((2, K)), arrays[0])
    sums = 2 * by_matrix(*arrays)
    outer = np.einsum("nbi,nbj->bij", sums, arrays[1])[:, *np.tril_indices(K, -1)]
    back = (tril.mT @ sums[..., None])[..., 0]
    for got, expected in zip(gradient(lower, vector), (outer, back), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-10)
    transposed = jax.vmap(twin.module("programs.triangle")._transposed.bind, (None, 0))
    np.testing.assert_allclose(transposed(lower, sums), back, rtol=1e-12, atol=1e-10)


@jax_only
def test_products_go_without_jit(twin, product):
    jax = twin.jax
    arrays = given((3,), (3,))
    lower, vector = map(twin.array, arrays)
    gradient = jax.grad(lambda v: product(lower, v).sum())
    with jax.disable_jit():
        np.testing.assert_allclose(
            product(lower, vector), by_matrix(*arrays), rtol=1e-12, atol=1e-12
        )
        plain = gradient(vector)
    tril = filled(np.zeros((3, K)), arrays[0])
    np.testing.assert_allclose(plain, tril.sum(-2), rtol=1e-12, atol=1e-12)


@jax_only
@pytest.mark.parametrize("types", ["float32 float64", "float64 float32", "weak", "whole"])
def test_products_promote_mixed_types(twin, product, types):
    jnp = twin.jax.numpy
    lower, vector = (np.float32(v) for v in given((3,), (3,)))
    expected = by_matrix(np.float64(lower), np.float64(vector))
    if types == "weak":
        lower, vector = jnp.asarray(lower, jnp.float64), jnp.broadcast_to(2.0, (3, K))
        assert vector.weak_type
        expected = by_matrix(np.asarray(lower), np.full((3, K), 2.0))
    elif types == "whole":
        vector = np.arange(3 * K).reshape(3, K)
        expected = by_matrix(np.float64(lower), vector)
        lower = np.float64(lower)
    else:
        lower, vector = (
            jnp.asarray(v, t) for v, t in zip((lower, vector), types.split(), strict=True)
        )
    found = product(lower, vector)
    assert found.dtype == "float64" and not found.weak_type
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    twin.jax.grad(lambda v: product(v, vector).sum())(lower)


@jax_only
@pytest.mark.parametrize("spread", ["lower", "vector", "both", "none"])
def test_products_and_gradients_on_a_mesh(twin, product, spread):
    """A triangle that lies on every device, and vectors that are spread; and the other way round."""
    jax = twin.jax
    arrays = given((4,), (4,))
    mesh, spec = jax.sharding.Mesh(jax.devices()[:1], "i"), jax.P
    lies = [spec("i") if spread in (name, "both") else spec() for name in ("lower", "vector")]
    out = spec() if spread == "none" else spec("i")
    mapped = jax.shard_map(product, mesh=mesh, in_specs=tuple(lies), out_specs=out)
    weights = np.random.default_rng(1).normal(size=(4, K))
    total = jax.jit(jax.value_and_grad(lambda *g: (mapped(*g) * weights).sum(), (0, 1)))
    value, (by_lower, by_vector) = total(*map(twin.array, arrays))
    np.testing.assert_allclose(value, (by_matrix(*arrays) * weights).sum(), rtol=1e-11)
    outer = (weights[..., None] * arrays[1][:, None])[:, *np.tril_indices(K, -1)]
    np.testing.assert_allclose(by_lower, outer, rtol=1e-12)
    tril = filled(np.zeros((4, K)), arrays[0])
    back = (tril.mT @ weights[..., None])[..., 0]
    np.testing.assert_allclose(by_vector, back, rtol=1e-11, atol=1e-12)


# ------------------------------------------------------------------------------------------- torch


@pyro_only
def test_torch_repeats_no_triangle_for_many_vectors_under_vmap(twin, product):
    from torch.utils._python_dispatch import TorchDispatchMode

    torch, rows = twin.torch, twin.module("programs.row_products")
    arrays = given((2,), (7, 2))
    lower, vector = map(twin.array, arrays)
    largest = 0

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor):
                largest = max(largest, found.numel())
            return found

    total = lambda *g: torch.vmap(product, (None, 0))(*g).square().sum()
    with Watched():
        by_lower, by_vector = torch.func.grad(total, (0, 1))(lower, vector)
    assert 2 * M <= largest < 7 * 2 * M
    sums = 2 * by_matrix(*arrays)
    outer = np.einsum("nbi,nbj->bij", sums, arrays[1])[:, *np.tril_indices(K, -1)]
    np.testing.assert_allclose(by_lower, outer, rtol=1e-11, atol=1e-10)
    back = (filled(np.zeros((2, K)), arrays[0]).mT @ sums[..., None])[..., 0]
    np.testing.assert_allclose(by_vector, back, rtol=1e-11, atol=1e-10)
    for function, expected in ((rows.product, by_matrix(*arrays)), (rows.transposed, back)):
        given_vector = vector if function is rows.product else torch.as_tensor(sums)
        across = torch.vmap(function, (None, 1))(lower, given_vector.transpose(0, 1))
        np.testing.assert_allclose(across, expected, rtol=1e-11, atol=1e-10)


@pyro_only
@scripts
def test_torch_has_derivatives_in_forward_mode(twin, product):
    torch, forward_ad = twin.torch, twin.torch.autograd.forward_ad
    arrays, tangents = given((3,), (3,)), given((3,), (3,), seed=1)
    lower, vector = map(twin.array, arrays)
    slopes = tuple(map(twin.array, tangents))
    expected = by_matrix(tangents[0], arrays[1]) + by_matrix(arrays[0], tangents[1])
    _, found = torch.func.jvp(product, (lower, vector), slopes)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    _, one = torch.func.jvp(lambda v: product(lower, v), (vector,), slopes[1:])
    np.testing.assert_allclose(one, by_matrix(arrays[0], tangents[1]), rtol=1e-12, atol=1e-12)
    with forward_ad.dual_level():
        dual = product(forward_ad.make_dual(lower, slopes[0]), vector)
        found = forward_ad.unpack_dual(dual).tangent
    np.testing.assert_allclose(found, by_matrix(tangents[0], arrays[1]), rtol=1e-12, atol=1e-12)
    tril = filled(np.zeros((3, K)), arrays[0])
    jacobian = torch.func.jacfwd(lambda v: product(lower, v))(vector)
    for item in range(3):
        np.testing.assert_array_equal(jacobian[item, :, item], tril[item])
    curvature = torch.func.hessian(lambda v: product(lower, v).square().sum())(vector)
    for item in range(3):
        squared = 2 * tril[item].T @ tril[item]
        np.testing.assert_allclose(curvature[item, :, item], squared, rtol=1e-11, atol=1e-10)


@pyro_only
@scripts
def test_each_of_the_three_has_derivatives_in_forward_mode(twin):
    torch, rows = twin.torch, twin.module("programs.row_products")
    rng = np.random.default_rng(0)
    lower, vector, column = (
        twin.array(rng.normal(size=(3, n))).requires_grad_() for n in (6, 4, 4)
    )
    for function, *arguments in (
        (rows.product, lower, vector),
        (rows.transposed, lower, vector),
        (rows.outer, column, vector),
    ):
        assert torch.autograd.gradcheck(function, arguments, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, arguments, check_fwd_over_rev=True)


@pyro_only
@pytest.mark.parametrize("k", [67, 131])
def test_shapes_without_numbers_leave_none_behind(twin, k):
    """One triangle, packed and filled: the constants that are kept are made after it, or again."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    torch, product = twin.torch, twin.module("programs.triangle").packed_product
    for _ in range(2):
        with FakeTensorMode():
            assert product(torch.empty(k * (k - 1) // 2), torch.empty(k)).shape == (k,)
        found = product(torch.ones(k * (k - 1) // 2), torch.ones(k))
        np.testing.assert_array_equal(found, np.arange(k))


@pyro_only
def test_the_three_have_shapes_without_numbers(twin, product):
    from torch._subclasses.fake_tensor import FakeTensorMode

    torch = twin.torch
    with FakeTensorMode():
        lower = torch.empty(3, M, requires_grad=True)
        vector = torch.empty(3, K, requires_grad=True)
        found = product(lower, vector)
        gradients = torch.autograd.grad(found.sum(), (lower, vector))
    assert found.shape == (3, K)
    assert [g.shape for g in gradients] == [(3, M), (3, K)]


@pyro_only
@pytest.mark.parametrize("name", ["programs.row_products", "compiled.onednn"])
def test_a_module_with_operators_can_be_imported_again(twin, monkeypatch, name):
    """And the operators stay when the first module is gone."""
    first = twin.module(name)
    parent, _, own = first.__name__.rpartition(".")
    monkeypatch.setattr(sys.modules[parent], own, first)
    monkeypatch.delitem(sys.modules, first.__name__)
    again = importlib.import_module(first.__name__)
    assert again is not first
    del first
    gc.collect()
    arrays = given((3,), (3,))
    if name == "programs.row_products":
        found = again.product(*map(twin.array, arrays))
        np.testing.assert_allclose(found, by_matrix(*arrays), rtol=1e-12, atol=1e-12)
