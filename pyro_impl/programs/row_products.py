"""Products with a packed triangle, row by row: what is read and written is the triangle alone, once.

Filled to a matrix, a triangle of many components is twice as large, and neither it nor its gradient stay in a
processor's cache. The three products are linear in both arguments and each other's derivatives:

    product     out[i] = Σ_{j<i} L[i, j] v[j]
    transposed  out[j] = Σ_{i>j} L[i, j] c[i]
    outer       out[i, j] = c[i] v[j], for j < i

One triangle that torch.vmap has with many vectors is filled, and is not repeated for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pyro_impl.operators import define
from pyro_impl.programs.filling import fill
from twinplate.programs.triangle import packed_size


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


def _vector_shape(lower: Tensor, vector: Tensor) -> Tensor:
    return vector.new_empty(vector.shape)


def _triangle_shape(column: Tensor, row: Tensor) -> Tensor:
    return row.new_empty((*row.shape[:-1], packed_size(row.shape[-1])))


# To whoever records a step the rows would be thousands of operations.
define("triangle_product(Tensor lower, Tensor vector) -> Tensor", _product, _vector_shape)
define("triangle_transposed(Tensor lower, Tensor vector) -> Tensor", _transposed, _vector_shape)
define("triangle_outer(Tensor column, Tensor row) -> Tensor", _outer, _triangle_shape)


_Dims = tuple[Any, Any]  # over which torch.vmap maps, of either argument; or None


class _Bilinear(torch.autograd.Function):
    """One of the three; a class derived from it has the rest, derivatives by all three."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)


def _leading(info: Any, dims: _Dims, given: tuple[Tensor, ...]) -> list[Tensor]:
    """What torch.vmap maps over is one more leading dim of both."""
    return [
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(given, dims, strict=True)
    ]


class _Product(_Bilinear):
    @staticmethod
    def forward(lower: Tensor, vector: Tensor) -> Any:
        return torch.ops.twinplate.triangle_product(lower, vector)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        lower, vector = ctx.saved_tensors
        return outer(gradient, vector), transposed(lower, gradient)

    @staticmethod
    def jvp(ctx: Any, lower: Tensor, vector: Tensor) -> Tensor:
        return product(lower, ctx.saved_tensors[1]) + product(ctx.saved_tensors[0], vector)

    @staticmethod
    def vmap(info: Any, dims: _Dims, lower: Tensor, vector: Tensor) -> tuple[Tensor, int]:
        if dims[0] is None:
            vectors = vector.movedim(dims[1], -1)
            return fill(lower, vectors.shape[-2]) @ vectors, vectors.ndim - 1
        return product(*_leading(info, dims, (lower, vector))), 0


class _Transposed(_Bilinear):
    @staticmethod
    def forward(lower: Tensor, vector: Tensor) -> Any:
        return torch.ops.twinplate.triangle_transposed(lower, vector)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        lower, vector = ctx.saved_tensors
        return outer(vector, gradient), product(lower, gradient)

    @staticmethod
    def jvp(ctx: Any, lower: Tensor, vector: Tensor) -> Tensor:
        return transposed(lower, ctx.saved_tensors[1]) + transposed(ctx.saved_tensors[0], vector)

    @staticmethod
    def vmap(info: Any, dims: _Dims, lower: Tensor, vector: Tensor) -> tuple[Tensor, int]:
        if dims[0] is None:
            vectors = vector.movedim(dims[1], -1)
            return fill(lower, vectors.shape[-2]).mT @ vectors, vectors.ndim - 1
        return transposed(*_leading(info, dims, (lower, vector))), 0


class _Outer(_Bilinear):
    @staticmethod
    def forward(column: Tensor, row: Tensor) -> Any:
        return torch.ops.twinplate.triangle_outer(column, row)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        column, row = ctx.saved_tensors
        return product(gradient, row), transposed(gradient, column)

    @staticmethod
    def jvp(ctx: Any, column: Tensor, row: Tensor) -> Tensor:
        return outer(column, ctx.saved_tensors[1]) + outer(ctx.saved_tensors[0], row)

    @staticmethod
    def vmap(info: Any, dims: _Dims, column: Tensor, row: Tensor) -> tuple[Tensor, int]:
        return outer(*_leading(info, dims, (column, row))), 0
