"""A step taken twice from one state and the same random numbers: kept, given back, compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pyro.infer.util import torch_item
from torch import Tensor


@contextmanager
def same_draws() -> Iterator[None]:
    """Afterwards the random numbers are again those of before."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        yield


def double(loss: Tensor | float) -> Tensor:
    """A loss as a tensor in double precision; waits for it."""
    return torch.as_tensor(torch_item(loss), dtype=torch.float64)


@torch.no_grad()
def give_back(tensors: list[Tensor], contents: list[Tensor]) -> None:
    """Write `contents` into `tensors`, one by one."""
    for tensor, content in zip(tensors, contents, strict=True):
        tensor.copy_(content)


def close(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Equal but for rounding, by the size of each tensor, or a thousandth of the largest."""
    sizes = [float(e.nan_to_num().abs().max()) if e.numel() else 0.0 for e in expected]
    least = 1e-3 * max(sizes, default=0.0)
    return all(
        torch.allclose(
            f.double(),
            e.double().to(f.device),
            rtol=0,
            atol=3 * torch.finfo(f.dtype).eps ** 0.5 * max(size, least),
            equal_nan=True,
        )
        for f, e, size in zip(found, expected, sizes, strict=True)
    )
