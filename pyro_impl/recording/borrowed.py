"""The user's tensors that a program reaches: found through closures, borrowed, given back."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import Distribution

from twinplate.user_code import FRAMEWORKS, top_level


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


def tensors_of(*programs: Any) -> list[Tensor]:
    """Every tensor that these functions and modules hold, or reach by name in their own code."""
    found: dict[int, Tensor] = {}
    seen: dict[int, Any] = {}
    waiting = list(programs)
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, Tensor):
            found[id(item)] = item
        else:
            waiting += _inside(item)
    return [t for t in found.values() if t.layout == torch.strided]


def _inside(item: Any) -> list[Any]:
    if isinstance(item, nn.Module):
        return [*item.parameters(), *item.buffers(), *item.modules(), *vars(item).values()]
    if isinstance(item, types.FunctionType):
        return _reached(item)
    if isinstance(item, types.MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, functools.partial):
        return [item.func, *item.args, *item.keywords.values()]
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)
    holds = isinstance(item, Distribution | Messenger) or callable(item)
    return (
        list(vars(item).values())
        if holds and not isinstance(item, type) and hasattr(item, "__dict__")
        else []
    )


def _reached(function: types.FunctionType) -> list[Any]:
    """What a function's code can name: its closure, its defaults and, outside libraries, its globals."""
    reached = list(function.__defaults__ or ())
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty cell
            reached.append(cell.cell_contents)
    if top_level(function.__module__) in FRAMEWORKS:
        return reached
    scope = function.__globals__
    return reached + [scope[n] for n in names_of(function) if n in scope]


def names_of(function: types.FunctionType) -> list[str]:
    """Names of globals and attributes in a function's code, and in the functions inside it."""
    codes: list[types.CodeType] = [function.__code__]
    names: dict[str, None] = {}
    for code in codes:  # grows: comprehensions and inner functions have code of their own
        names |= dict.fromkeys(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return list(names)
