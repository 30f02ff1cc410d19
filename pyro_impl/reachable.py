"""What a program reaches besides its arguments: through modules, closures, defaults and globals."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor, nn, strided
from torch.distributions import Distribution

from twinplate.user_code import FRAMEWORKS, names_of, top_level

Place = tuple[Any, Callable[[Any], None]]  # what is there, and how to put something else there


def tensors_of(*programs: Any) -> list[Tensor]:
    """Every tensor that these functions and modules hold, or reach by name in their own code."""
    found = {id(value): value for value, _ in places_of(*programs) if isinstance(value, Tensor)}
    return [tensor for tensor in found.values() if tensor.layout == strided]


def places_of(*programs: Any) -> Iterator[Place]:
    """Every place that these functions and modules hold, or reach by name in their own code."""
    seen: dict[int, Any] = {}
    waiting = list(programs)
    while waiting:
        item = waiting.pop()
        if id(item) not in seen and not isinstance(item, Tensor):
            seen[id(item)] = item
            for value, put in list(_inside(item)):
                yield value, put
                waiting.append(value)


def _inside(item: Any) -> Iterator[Place]:
    if isinstance(item, nn.Module):
        yield from _fixed([*item.parameters(), *item.buffers(), *item.modules()])
        yield from _items(vars(item))
    elif isinstance(item, types.FunctionType):
        yield from _reached(item)
    elif isinstance(item, types.MethodType):
        yield from _fixed([item.__self__, item.__func__])
    elif isinstance(item, functools.partial):
        yield from _fixed([item.func, *item.args])
        yield from _items(item.keywords)
    elif isinstance(item, dict):
        yield from _items(item)
    elif isinstance(item, list):
        yield from ((value, functools.partial(item.__setitem__, i)) for i, value in enumerate(item))
    elif isinstance(item, tuple | set | frozenset):
        yield from _fixed(item)
    elif _holds(item) and not isinstance(item, type) and hasattr(item, "__dict__"):
        yield from _items(vars(item))


def _holds(item: Any) -> bool:
    if isinstance(item, Distribution | Messenger | types.SimpleNamespace) or callable(item):
        return True
    return dataclasses.is_dataclass(item) and top_level(type(item).__module__) not in FRAMEWORKS


def _items(items: dict[Any, Any]) -> Iterator[Place]:
    return ((value, functools.partial(items.__setitem__, key)) for key, value in items.items())


def _fixed(items: Iterable[Any]) -> Iterator[Place]:
    """What cannot be exchanged: held by a method, a tuple or a partial function."""
    return ((item, _nowhere) for item in items)


def _nowhere(value: Any) -> None:
    """Leave what is there."""


def _reached(function: types.FunctionType) -> Iterator[Place]:
    """What a function's code can name: its closure, its defaults and, outside frameworks, its globals."""
    for i, value in enumerate(function.__defaults__ or ()):
        yield value, functools.partial(_put_default, function, i)
    yield from _items(function.__kwdefaults__ or {})
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty cell
            yield cell.cell_contents, functools.partial(setattr, cell, "cell_contents")
    if top_level(function.__module__) in FRAMEWORKS:
        return
    scope = function.__globals__
    for name in names_of(function):
        if name in scope:
            yield scope[name], functools.partial(scope.__setitem__, name)


def _put_default(function: types.FunctionType, i: int, value: Any) -> None:
    defaults = list(function.__defaults__ or ())
    defaults[i] = value
    function.__defaults__ = tuple(defaults)
