"""Products with a packed triangle, row by row: what is read and written is the triangle alone, once.

Filled to a matrix, a triangle of many components is twice as large, and neither it nor its gradient stay in a
processor's cache. The three products are linear in both arguments and each other's derivatives:

    product     out[i] = Σ_{j<i} L[i, j] v[j]
    transposed  out[j] = Σ_{i>j} L[i, j] c[i]
    outer       out[i, j] = c[i] v[j], for j < i
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from twinplate.programs.triangle import packed_size

# Each is one operation for who records a step: its rows would be thousands.
_LIBRARY = torch.library.Library("twinplate", "FRAGMENT")


def product(lower: Tensor, vector: Tensor) -> Tensor:
    """The strict lower triangle `lower` (..., M), row by row, times `vector` (..., K); equal leading dims."""
    found: Tensor = _Product.apply(lower, vector)
    return found


def transposed(lower: Tensor, vector: Tensor) -> Tensor:
    """The same with the triangle transposed."""
    found: Tensor = _Transposed.apply(lower, vector)
    return found


def outer(column: Tensor, row: Tensor) -> Tensor:
    """The strict lower triangle (..., M) of the matrix `column` (..., K) times `row` (..., K)."""
    found: Tensor = _Outer.apply(column, row)
    return found


def _product(lower: Tensor, vector: Tensor) -> Tensor:
    out = torch.zeros_like(vector, memory_format=torch.contiguous_format)
    for i, row in _rows(lower, vector.shape[-1]):
        out[..., i] = torch.linalg.vecdot(row, vector[..., :i])
    return out


def _transposed(lower: Tensor, vector: Tensor) -> Tensor:
    out = torch.zeros_like(vector, memory_format=torch.contiguous_format)
    for i, row in _rows(lower, vector.shape[-1]):
        out[..., :i].addcmul_(row, vector[..., i : i + 1])
    return out


def _outer(column: Tensor, row: Tensor) -> Tensor:
    out = row.new_empty((*row.shape[:-1], packed_size(row.shape[-1])))
    for i, part in _rows(out, row.shape[-1]):
        part.copy_(column[..., i : i + 1] * row[..., :i])
    return out


def _rows(lower: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """The rows 1, …, K - 1, which have as many numbers."""
    for i in range(1, size):
        yield i, lower.narrow(-1, i * (i - 1) // 2, i)


for _name, _function in (
    ("triangle_product", _product),
    ("triangle_transposed", _transposed),
    ("triangle_outer", _outer),
):
    _LIBRARY.define(f"{_name}(Tensor left, Tensor right) -> Tensor")
    _LIBRARY.impl(_name, _function, "CPU")


class _Bilinear(torch.autograd.Function):
    """One of the three; a class derived from it has `forward` and, by the others, `backward`."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @classmethod
    def mapped(cls, info: Any, dims: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        """For torch.vmap: one more leading dim."""
        ahead = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(given, dims, strict=True)
        ]
        return cls.apply(*ahead), 0


class _Product(_Bilinear):
    @staticmethod
    def forward(lower: Tensor, vector: Tensor) -> Any:
        return torch.ops.twinplate.triangle_product(lower, vector)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        lower, vector = ctx.saved_tensors
        return outer(gradient, vector), transposed(lower, gradient)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        return _Product.mapped(info, dims, *given)


class _Transposed(_Bilinear):
    @staticmethod
    def forward(lower: Tensor, vector: Tensor) -> Any:
        return torch.ops.twinplate.triangle_transposed(lower, vector)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        lower, vector = ctx.saved_tensors
        return outer(vector, gradient), product(lower, gradient)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        return _Transposed.mapped(info, dims, *given)


class _Outer(_Bilinear):
    @staticmethod
    def forward(column: Tensor, row: Tensor) -> Any:
        return torch.ops.twinplate.triangle_outer(column, row)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        column, row = ctx.saved_tensors
        return product(gradient, row), transposed(gradient, column)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        return _Outer.mapped(info, dims, *given)
