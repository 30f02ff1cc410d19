"""The strict lower triangle of a matrix, packed in a row of M = K (K - 1) / 2 numbers, row by row.

Its product with a vector takes few operations: two products with 0/1 matrices. On a CPU that of many
components goes row by row (`row_products`). Where a graph is captured for a compiler, up to `ROWS_LIMIT`
components it does so too, another way: torch's compiler makes one loop of the rows.

Filling a matrix with it is a selection, and so is taking the triangle out of a matrix. Each is the
transpose of the other, which torch is told by two functions: by itself it would add up, element by
element, what can only occur once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor

from pyro_impl.capturing import is_for_a_compiler
from pyro_impl.programs.row_products import product
from pyro_impl.torch_private import makes_constants
from twinplate.programs.triangle import ROWS_ABOVE, fill_indices, selectors, take_indices

# Up to this many components the product with the packed triangle costs less than filling a matrix, or no
# more; the 0/1 matrices, which grow as K³, still are small (4 MB each in single precision at 128).
PACKED_LIMIT = 128
ROWS_LIMIT = 64  # torch's compiler takes a minute for so many rows, and longer for more


def fill_tril(diagonal: Tensor, lower: Tensor) -> Tensor:
    """Lower triangle (..., K, K): `diagonal` (..., K) and, below it, `lower` (..., M) row by row.

    `lower` may be (..., 0): then all is zero below the diagonal.
    """
    tril = diagonal.diag_embed()
    return tril + fill(lower, diagonal.shape[-1]) if lower.shape[-1] else tril


def packed_product(lower: Tensor, vector: Tensor) -> Tensor:
    """The strict lower triangle `lower` (..., M), or (..., 0) for zero, times `vector` (..., K)."""
    size = vector.shape[-1]
    if not lower.shape[-1]:
        return torch.zeros_like(vector)
    is_captured = _is_captured(vector)
    if (size <= ROWS_LIMIT) if is_captured else (size > ROWS_ABOVE and vector.is_cpu):
        batch = broadcast_shape(lower.shape[:-1], vector.shape[:-1])
        by_rows = _RowByRow.apply if is_captured else product
        found: Tensor = by_rows(lower.expand(*batch, -1), vector.expand(*batch, -1))
        return found
    if size > PACKED_LIMIT:
        return (fill(lower, size) @ vector.unsqueeze(-1)).squeeze(-1)
    copy, add = _selectors(size, vector.dtype, vector.device)
    return (lower * (vector @ copy)) @ add


def _is_captured(tensor: Tensor) -> bool:
    """Whether operations on `tensor` are being recorded, to become machine code of a CPU."""
    recorded = torch.compiler.is_compiling() or is_for_a_compiler()
    return recorded and tensor.device.type == "cpu"


class _RowByRow(torch.autograd.Function):
    """The packed product as K products of rows, which torch's compiler makes into one loop."""

    generate_vmap_rule = True

    @staticmethod
    def forward(lower: Tensor, vector: Tensor) -> Tensor:
        rows = _rows(lower, vector.shape[-1])
        return torch.stack([(r * vector[..., :i]).sum(-1) for i, r in enumerate(rows)], -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        lower, vector = ctx.saved_tensors
        size = vector.shape[-1]
        columns, rows = gradient.split(1, -1), _rows(lower, size)
        of_lower = of_vector = None
        if ctx.needs_input_grad[0]:
            of_lower = torch.cat([c * vector[..., :i] for i, c in enumerate(columns)], -1)
        if ctx.needs_input_grad[1]:
            scaled = (c * r for c, r in zip(columns, rows, strict=True))
            wide = [torch.nn.functional.pad(s, (0, size - i)) for i, s in enumerate(scaled)]
            of_vector = torch.stack(wide).sum(0)
        return of_lower, of_vector


def _rows(lower: Tensor, size: int) -> tuple[Tensor, ...]:
    """0, 1, …, K - 1 numbers each."""
    return lower.split(list(range(size)), -1)


def fill(lower: Tensor, size: int) -> Tensor:
    """(..., M) to (..., K, K), zero on the diagonal and above."""
    filled: Tensor = _Fill.apply(lower, *_indices(size, lower.device))
    return filled.unflatten(-1, (size, size))


class _Fill(torch.autograd.Function):
    """(..., M) to (..., K²)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(lower: Tensor, filling: Tensor, taking: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(
            lower, (0, 1)
        )  # the zero that stands where nothing is filled in
        return padded.index_select(-1, filling)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Take.apply(gradient, *ctx.saved_tensors), None, None


class _Take(torch.autograd.Function):
    """(..., K²) to (..., M)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(flat: Tensor, filling: Tensor, taking: Tensor) -> Tensor:
        return flat.index_select(-1, taking)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Fill.apply(gradient, *ctx.saved_tensors), None, None


# torch.compile is not to look into what makes constants.


@makes_constants
def _selectors(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    return _made_selectors(size, dtype, device)


@makes_constants
def _indices(size: int, device: torch.device) -> tuple[Tensor, ...]:
    return _made_indices(size, device)


@lru_cache(maxsize=16)
def _made_selectors(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    with torch.inference_mode(False):  # kept for every later use, with gradients too
        return tuple(torch.tensor(m, dtype=dtype, device=device) for m in selectors(size))


@lru_cache(maxsize=16)
def _made_indices(size: int, device: torch.device) -> tuple[Tensor, ...]:
    with torch.inference_mode(False):
        return tuple(
            torch.tensor(i, device=device) for i in (fill_indices(size), take_indices(size))
        )
