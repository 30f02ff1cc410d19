"""What a program reaches besides its arguments: through objects, closures, defaults and globals."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import jax
from numpyro.distributions import Distribution
from numpyro.primitives import Messenger

from twinplate.user_code import FRAMEWORKS, names_of, top_level

Place = tuple[Any, Callable[[Any], None]]  # what is there, and how to put something else there


def places_of(*programs: Any) -> Iterator[Place]:
    """Every place that these functions and objects hold, or reach by name in their own code."""
    seen: dict[int, Any] = {}
    waiting = list(programs)
    while waiting:
        item = waiting.pop()
        if id(item) not in seen and not isinstance(item, jax.Array):
            seen[id(item)] = item
            for value, put in list(_inside(item)):
                yield value, put
                waiting.append(value)


def _inside(item: Any) -> Iterator[Place]:
    if isinstance(item, types.FunctionType):
        yield from _reached(item)
    elif isinstance(item, types.MethodType):
        yield from ((held, _nowhere) for held in (item.__self__, item.__func__))
    elif isinstance(item, functools.partial):
        yield from ((held, _nowhere) for held in (item.func, *item.args))
        yield from _items(item.keywords)
    elif isinstance(item, dict):
        yield from _items(item)
    elif isinstance(item, list):
        yield from ((value, functools.partial(item.__setitem__, i)) for i, value in enumerate(item))
    elif isinstance(item, tuple | set | frozenset):
        yield from ((held, _nowhere) for held in item)
    elif _is_users(item) and hasattr(item, "__dict__"):
        yield from _items(vars(item))


def _is_users(item: Any) -> bool:
    if isinstance(item, Distribution | Messenger | types.SimpleNamespace):
        return True
    wrapper = callable(item) and hasattr(item, "__wrapped__")  # of jax.jit
    holds = callable(item) or dataclasses.is_dataclass(item)
    return wrapper or (holds and not isinstance(item, type) and not _in_framework(item))


def _items(items: dict[Any, Any]) -> Iterator[Place]:
    return ((value, functools.partial(items.__setitem__, key)) for key, value in items.items())


def _nowhere(value: Any) -> None:
    """Where nothing can be exchanged: what a method, a tuple or a partial function holds."""


def _in_framework(item: Any) -> bool:
    module = item.__module__ if isinstance(item, types.FunctionType) else type(item).__module__
    return top_level(module) in FRAMEWORKS


def _reached(function: types.FunctionType) -> Iterator[Place]:
    """What a function's code can name: its closure, its defaults and, outside frameworks, its globals."""
    defaults = list(function.__defaults__ or ())
    for i, value in enumerate(defaults):
        yield value, functools.partial(_put_default, function, i)
    yield from _items(function.__kwdefaults__ or {})
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty cell
            yield cell.cell_contents, functools.partial(setattr, cell, "cell_contents")
    if _in_framework(function):
        return
    scope = function.__globals__
    for name in names_of(function):
        if name in scope:
            yield scope[name], functools.partial(scope.__setitem__, name)


def _put_default(function: types.FunctionType, i: int, value: Any) -> None:
    defaults = list(function.__defaults__ or ())
    defaults[i] = value
    function.__defaults__ = tuple(defaults)
