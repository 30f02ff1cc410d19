"""Lower triangles as matrices: filled with a packed triangle (..., M), row by row, M = K (K - 1) / 2.

Filling a matrix with it is a selection, and so is taking the triangle out of a matrix. Each is the
transpose of the other, which torch is told by two functions: by itself it would add up, element by
element, what can only occur once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_impl.torch_private import makes_constants
from twinplate.programs.triangle import fill_indices, take_indices


def fill_tril(diagonal: Tensor, lower: Tensor) -> Tensor:
    """Lower triangle (..., K, K): `diagonal` (..., K) and, below it, `lower` (..., M) row by row.

    `lower` may be (..., 0): then all is zero below the diagonal.
    """
    tril = diagonal.diag_embed()
    return tril + fill(lower, diagonal.shape[-1]) if lower.shape[-1] else tril


def fill(lower: Tensor, size: int) -> Tensor:
    """(..., M) to (..., K, K), zero on the diagonal and above."""
    function = _Fill if torch.compiler.is_compiling() else _FillBothModes
    filled: Tensor = function.apply(lower, *_indices(size, lower.device))
    return filled.unflatten(-1, (size, size))


class _Fill(torch.autograd.Function):
    """(..., M) to (..., K²)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(lower: Tensor, filling: Tensor, taking: Tensor) -> Tensor:
        # the zero that stands where nothing is filled in
        padded = torch.nn.functional.pad(lower, (0, 1))
        return padded.index_select(-1, filling)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

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
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Fill.apply(gradient, *ctx.saved_tensors), None, None


class _FillBothModes(_Fill):
    """With a derivative in forward mode too, whose mere presence torch.compile refuses."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _TakeBothModes.apply(gradient, *ctx.saved_tensors), None, None

    @staticmethod
    def jvp(ctx: Any, lower: Tensor, *none: None) -> Any:
        return _FillBothModes.apply(lower, *ctx.saved_tensors)


class _TakeBothModes(_Take):
    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _FillBothModes.apply(gradient, *ctx.saved_tensors), None, None

    @staticmethod
    def jvp(ctx: Any, flat: Tensor, *none: None) -> Any:
        return _TakeBothModes.apply(flat, *ctx.saved_tensors)


@makes_constants
def _indices(size: int, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(i, device=device) for i in (fill_indices(size), take_indices(size)))
