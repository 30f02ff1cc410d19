"""Matrix products of captured graphs on a CPU of AMD by oneDNN, where they are large.

torch gives products in single precision to its BLAS library. With torch's usual build, which has Intel's MKL,
oneDNN is faster on a CPU of AMD (`benchmarks/products.py`) for large products where the rows of the left
factor lie in memory one after the other, as in a layer and in the gradient of its inputs. Where they have to
be brought into that order, as in the gradient of its weights, it keeps up for very large ones only. On
Intel's own CPUs MKL is the faster one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_impl.operators import define
from pyro_impl.torch_private import EXACT_STRIDES, onednn_linear

aten = torch.ops.aten

LEAST = 3e7  # floating-point operations
LEAST_REARRANGED = 1e9  # where the rows have to be brought into order first


def _linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`rows @ weight.T + bias`: rows (M, K) in C order, weight (N, K) in C or Fortran order, bias (N,)."""
    return onednn_linear(rows, weight, bias)


def _linear_shape(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return rows.new_empty(len(rows), len(weight))


# An operation of its own: torch's compiler takes oneDNN's only for weights that never change. This one is
# known to it by its shape, and called as it is.
define(
    "linear(Tensor rows, Tensor weight, Tensor? bias) -> Tensor",
    _linear,
    _linear_shape,
    tags=(EXACT_STRIDES,),  # oneDNN falls back to plain loops for unusual ones
)


def by_onednn(left: Tensor, right: Tensor) -> Tensor:
    """(M, K) @ (K, N), (M, N) in C order."""
    (m, k), n = left.shape, right.shape[1]
    if not left.is_contiguous() and k * n + m * n < m * k:  # less to rearrange the other way round
        return _product(right.t(), left.t(), None).t().contiguous()
    return _product(left, right, None)


def _mm(left: Tensor, right: Tensor) -> Any:
    return by_onednn(left, right) if _worthwhile(left, right) else NotImplemented


def _addmm(bias: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if beta != 1 or alpha != 1 or bias.ndim != 1 or not _worthwhile(left, right):
        return NotImplemented
    return _product(left, right, bias)


def _product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    weight = right.t()
    dense = right.is_contiguous() or weight.is_contiguous()
    return torch.ops.twinplate.linear(
        left.contiguous(), weight if dense else weight.contiguous(), bias
    )


def _worthwhile(left: Tensor, right: Tensor) -> bool:
    return (
        left.device.type == "cpu"
        and left.dtype == right.dtype == torch.float32
        and 2 * left.numel() * right.shape[1]
        >= (LEAST if left.is_contiguous() else LEAST_REARRANGED)
        and torch.backends.mkldnn.is_available()
        and is_amd()
    )


@cache
def is_amd() -> bool:
    """Whether this machine's CPU is made by AMD."""
    listed = Path("/proc/cpuinfo")  # Linux; `platform` knows the maker on Windows only
    return "AuthenticAMD" in (listed.read_text() if listed.exists() else platform.processor())


PRODUCTS: dict[Any, Callable[..., Any]] = {aten.mm.default: _mm, aten.addmm.default: _addmm}
