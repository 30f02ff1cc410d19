"""What a program reaches besides its arguments: through modules, closures, defaults and globals."""

from __future__ import annotations

import dataclasses
import functools
import types
from contextlib import suppress
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor, nn, strided
from torch.distributions import Distribution

from twinplate.user_code import FRAMEWORKS, names_of, top_level


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
    return [t for t in found.values() if t.layout == strided]


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
    holds = isinstance(item, Distribution | Messenger | types.SimpleNamespace) or callable(item)
    users = top_level(type(item).__module__) not in FRAMEWORKS
    holds = holds or (users and dataclasses.is_dataclass(item))
    return (
        list(vars(item).values())
        if holds and not isinstance(item, type) and hasattr(item, "__dict__")
        else []
    )


def _reached(function: types.FunctionType) -> list[Any]:
    """What a function's code can name: its closure, its defaults and, outside frameworks, its globals."""
    reached = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty cell
            reached.append(cell.cell_contents)
    if top_level(function.__module__) in FRAMEWORKS:
        return reached
    scope = function.__globals__
    return reached + [scope[n] for n in names_of(function) if n in scope]
