"""The gradient of an item that stands out is cut, so that one outlier does not throw a network about."""

from __future__ import annotations

from torch import Tensor

from twinplate.guides.cutting import MOST, usual_place


def cut_gradients(numbers: Tensor) -> Tensor:
    """`numbers` (B, H), whose gradient has no row of a size more than MOST times the usual one.

    The size of a row is its largest entry; the usual one that of the item at nine tenths of the mini-batch.

    >>> import torch
    >>> numbers = torch.zeros(11, 1, requires_grad=True)
    >>> (cut_gradients(numbers + 0)[:, 0] @ torch.tensor([1.0] * 10 + [1e6])).backward()
    >>> numbers.grad[9:, 0].tolist()
    [1.0, 100.0]
    """
    if numbers.requires_grad:
        numbers.register_hook(_cut)
    return numbers


def _cut(gradient: Tensor) -> Tensor:
    size = gradient.abs().amax(-1)
    most = MOST * size.sort().values[usual_place(len(size))]
    # By division of what is larger alone: all others keep their bits.
    return gradient / ((size / most).where((size > most) & (most > 0), size.new_ones(())))[:, None]
