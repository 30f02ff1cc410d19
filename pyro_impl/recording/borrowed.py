"""The user's tensors and NumPy arrays, borrowed for a run in another precision and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_impl.reachable import places_of


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


@contextmanager
def in_precision(programs: tuple[Any, ...], precision: str) -> Iterator[None]:
    """Inside, NumPy's arrays of single precision that these functions reach are in `precision`.

    Tensors made of them would keep their type, and be computed with in it.
    """
    places = [(value, put, _converted(value, precision)) for value, put in places_of(*programs)]
    exchanged = [(value, put, new) for value, put, new in places if new is not value]
    try:
        for _, put, new in exchanged:
            put(new)
        yield
    finally:
        for value, put, _ in exchanged:
            put(value)


def _converted(value: Any, precision: str) -> Any:
    """The value in the other type, or itself; tuples are made anew where an array in them is."""
    if isinstance(value, tuple):
        items = [_converted(item, precision) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value.astype(precision, copy=False)
    return value
