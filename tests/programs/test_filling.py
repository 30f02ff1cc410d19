"""A matrix filled with a packed triangle, and every transformation of that."""

from __future__ import annotations

import numpy as np
import pytest
from triangles import filled

pyro_only = pytest.mark.parametrize("twin", ["pyro"], indirect=True)
jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
scripts = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # by torch
TRIANGLES = [(), (3,), (2, 3)]


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("batch", TRIANGLES)
def test_fill_tril_is_row_by_row(twin, k, batch):
    rng = np.random.default_rng(0)
    diagonal, lower = rng.normal(size=(*batch, k)), rng.normal(size=(*batch, k * (k - 1) // 2))
    filling = twin.module("programs.filling")
    for below in (lower, lower[..., :0]):
        got = twin.numpy(filling.fill_tril(twin.array(diagonal), twin.array(below)))
        np.testing.assert_array_equal(got, filled(diagonal, below))


def test_fill_tril_spelt_out(twin):
    filling = twin.module("programs.filling")
    got = filling.fill_tril(twin.array([1.0, 1.0, 1.0]), twin.array([2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(twin.numpy(got), [[1, 0, 0], [2, 1, 0], [3, 4, 1]])


@jax_only
def test_filling_goes_through_every_transformation(twin):
    jax, fill = twin.jax, twin.module("programs.filling").fill
    lower = twin.array(np.random.default_rng(0).normal(size=(3, 6)))
    plain = fill(lower, 4)
    for mapped in (
        jax.vmap(lambda row: fill(row, 4))(lower),
        jax.jit(fill, static_argnums=1)(lower, 4),
    ):
        np.testing.assert_array_equal(mapped, plain)
    across = jax.vmap(lambda row: fill(row, 4), in_axes=1)(lower.T)
    np.testing.assert_array_equal(across, plain)
    _, tangent = jax.jvp(lambda v: fill(v, 4), (lower,), (2 * lower,))
    np.testing.assert_array_equal(tangent, 2 * plain)
    curvature = jax.hessian(lambda row: (fill(row, 4) ** 3).sum())(lower[0])
    np.testing.assert_allclose(curvature, 6 * np.diag(lower[0]), rtol=1e-12)


@pyro_only
def test_filling_is_differentiable_twice_and_maps(twin):
    torch, fill = twin.torch, twin.module("programs.filling").fill
    lower = twin.array(np.random.default_rng(0).normal(size=(3, 6)))
    assert torch.autograd.gradcheck(lambda v: fill(v, 4), lower.clone().requires_grad_())
    assert torch.autograd.gradgradcheck(lambda v: fill(v, 4) ** 2, lower.clone().requires_grad_())
    mapped = torch.vmap(lambda row: fill(row, 4))(lower)
    np.testing.assert_array_equal(mapped, fill(lower, 4))


@pyro_only
@scripts
def test_filling_has_derivatives_in_forward_mode(twin):
    torch, fill = twin.torch, twin.module("programs.filling").fill
    lower = twin.array(np.random.default_rng(0).normal(size=6))
    jacobian = torch.func.jacfwd(lambda v: fill(v, 4))(lower)
    np.testing.assert_array_equal(jacobian, fill(torch.eye(6, dtype=lower.dtype), 4).movedim(0, -1))
    curvature = torch.func.hessian(lambda v: (fill(v, 4) ** 3).sum())(lower)
    np.testing.assert_allclose(curvature, 6 * np.diag(lower), rtol=1e-12)
