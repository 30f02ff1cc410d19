"""The user's tensors, borrowed for a run in another precision and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Borrowed:
    """Tensors with a second content in another precision, which they have only inside `swapped`.

    The first content and the gradient of every tensor are what they were, when the block ends.
    """

    def __init__(self, tensors: list[Tensor], dtype: torch.dtype) -> None:
        self._tensors = tensors
        self._second = [
            (t.detach().to(dtype) if t.is_floating_point() else t.detach()).clone() for t in tensors
        ]
        self._gradients: list[Tensor | None] = [None] * len(tensors)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the tensors their second content; what happens to it here is kept for the next time."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for i, tensor in enumerate(self._tensors):
            content, gradient = tensor.data, tensor.grad if tensor.is_leaf else None
            if tensor.is_leaf:
                tensor.grad = None  # or torch refuses a content of another type
            tensor.data = self._second[i]
            if tensor.is_leaf:
                tensor.grad = self._gradients[i]
            self._second[i], self._gradients[i] = content, gradient
