"""The strict lower triangle of a matrix, packed in a row of M = K (K - 1) / 2 numbers, times a vector.

The product takes few operations: two products with 0/1 matrices, or of many components a filled matrix. On a
CPU large mini-batches with many components go row by row (`row_products`). Where a graph is captured for a
compiler, up to `ROWS_LIMIT` components all do so, another way: torch's compiler makes one loop of the rows.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor

from pyro_impl.capturing import is_for_a_compiler
from pyro_impl.programs.filling import fill
from pyro_impl.programs.row_products import product
from pyro_impl.torch_private import makes_constants
from twinplate.programs.triangle import (
    ROWS_ABOVE,
    ROWS_FROM,
    check_product,
    own_numbers,
    selectors,
)

# Up to this many components the product with the packed triangle costs less than filling a matrix, or no
# more; the 0/1 matrices, which grow as K³, still are small (4 MB each in single precision at 128).
PACKED_LIMIT = 128
ROWS_LIMIT = 64  # torch's compiler takes a minute for so many rows, and longer for more


def packed_product(lower: Tensor, vector: Tensor) -> Tensor:
    """The strict lower triangle `lower` (..., M), or (..., 0) for zero, times `vector` (..., K).

    Raises InputError if `lower` has another length.
    """
    check_product(lower.shape, vector.shape)
    size = vector.shape[-1]
    if not lower.shape[-1]:
        return torch.zeros_like(vector)
    is_captured = _is_captured(vector)
    if (size <= ROWS_LIMIT) if is_captured else _by_rows(lower, vector):
        batch = broadcast_shape(lower.shape[:-1], vector.shape[:-1])
        by_rows = _RowByRow.apply if is_captured else product
        found: Tensor = by_rows(lower.expand(*batch, -1), vector.expand(*batch, -1))
        return found
    if size > PACKED_LIMIT:
        return (fill(lower, size) @ vector.unsqueeze(-1)).squeeze(-1)
    copy, add = _selectors(size, vector.dtype, vector.device)
    return (lower * (vector @ copy)) @ add


def _by_rows(lower: Tensor, vector: Tensor) -> bool:
    is_alike = lower.is_cpu and vector.is_cpu and lower.dtype == vector.dtype
    is_large = vector.shape[-1] > ROWS_ABOVE and own_numbers(lower.shape, vector.shape) >= ROWS_FROM
    return is_alike and is_large


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


@makes_constants
def _selectors(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(m, dtype=dtype, device=device) for m in selectors(size))
