"""What a program reads besides its arguments, and whether it is still the same.

A compiled graph keeps the numbers, flags and tensors that Python handed to it. Here they are found
before that: in closures, in globals that the code names, in the attributes of objects and modules.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import is_, itemgetter
from typing import Any

import numpy as np
from pyro.infer.elbo import ELBO
from pyro.poutine.indep_messenger import IndepMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_impl.captured import LIBRARIES, names_of

OURS = ("twinplate", "pyro_impl")
MOST = 5000  # places; beyond, only the comparison with an eager loss is left
OF_MODULES = vars(nn.Module()).keys() - {"training"}
PLAIN = (int, float, complex, bool, str, bytes, tuple, frozenset, type(None))
ENDS = (int, float, complex, bool, str, bytes, type(None), Tensor, np.ndarray)


@dataclass
class Place:
    """Entries of one dictionary, list or closure: what was in them, and how to put it back."""

    label: str
    mapping: Any  # with [key]
    keys: tuple[Any, ...]
    watched: bool = True

    def __post_init__(self) -> None:
        # One key twice: itemgetter answers a lone key with the bare value.
        self.get: Callable[[Any], tuple[Any, ...]] = itemgetter(*self.keys, self.keys[0])
        self.values = self.get(self.mapping)

    def is_same(self) -> bool:
        """By identity; False as well where something is gone."""
        try:
            return all(map(is_, self.get(self.mapping), self.values))
        except (KeyError, IndexError, ValueError):
            return False

    def difference(self) -> str | None:
        """Which entry is another one: not the same object, nor an equal plain value."""
        for key, before in zip(self.keys, self.values, strict=False):
            try:
                now = self.mapping[key]
            except (KeyError, IndexError, ValueError):
                return self.named(key)
            if now is not before and not (
                isinstance(now, PLAIN) and type(now) is type(before) and now == before
            ):
                return self.named(key)
        self.values = self.get(self.mapping)
        return None

    def named(self, key: Any) -> str:
        """The entry in the user's words."""
        return self.label.format(key)

    def restore(self) -> None:
        """Put back what was there, if it can be."""
        if not self.is_same() and isinstance(self.mapping, dict | list | Cell):
            for key, value in zip(self.keys, self.values, strict=False):
                self.mapping[key] = value


class Cell:
    """The one variable of a closure's cell as a mapping."""

    def __init__(self, cell: types.CellType) -> None:
        self.cell = cell

    def __getitem__(self, key: Any) -> Any:
        return self.cell.cell_contents

    def __setitem__(self, key: Any, value: Any) -> None:
        self.cell.cell_contents = value


class Guards:
    """All that `roots` (functions, modules, objects) read, as it is now."""

    def __init__(self, *roots: Any) -> None:
        self._places: list[Place] = []
        self._sizes: list[tuple[str, Any, Any]] = []  # containers with what they held
        seen: dict[int, Any] = {}
        waiting = list(roots)
        while waiting and sum(len(p.keys) for p in self._places) < MOST:
            item = waiting.pop()
            if id(item) in seen or isinstance(item, ENDS):
                continue
            seen[id(item)] = item
            for found in _inside(item):
                if isinstance(found, Place):
                    self._places.append(found)
                    waiting += found.values if found.watched else ()
                else:
                    waiting.append(found)
            if isinstance(item, list | dict | set):
                self._sizes.append((type(item).__name__, item, item.copy()))
        self._watched = [p for p in self._places if p.watched]

    def change(self) -> str | None:
        """What is not as it was, in words; None when all is."""
        for kind, container, before in self._sizes:
            if len(container) != len(before):
                return f"a {kind} of {len(before)} entries that now has {len(container)}"
        for place in self._watched:
            if not place.is_same() and (found := place.difference()):
                return found
        return None

    def restore(self) -> None:
        """Everything as it was, also what is not watched."""
        for _, container, before in self._sizes:
            if len(container) != len(before):
                container.clear()
                container.extend(before) if isinstance(container, list) else container.update(
                    before
                )
        for place in self._places:
            place.restore()


def _inside(item: Any) -> Iterator[Any]:
    """The places of `item`, and other objects to look into."""
    if isinstance(item, types.FunctionType):
        yield from _of_function(item)
    elif isinstance(item, types.MethodType):
        yield from (item.__self__, item.__func__)
    elif isinstance(item, functools.partial):
        yield from (item.func, *item.args, *item.keywords.values())
    elif isinstance(item, property | staticmethod | classmethod):
        yield item.fget if isinstance(item, property) else item.__func__
    elif isinstance(item, dict):
        yield from _entries("entry {!r} of a dictionary", item, item)
    elif isinstance(item, list):
        yield from _entries("entry {} of a list", item, range(len(item)))
    elif isinstance(item, tuple | set | frozenset):
        yield from item
    elif isinstance(item, nn.Module):
        yield from _of_module(item)
    elif isinstance(item, Distribution | Messenger | ELBO) or not _is_library(type(item)):
        # A plate counts how often it was entered; that is no input of its next use.
        watched = not isinstance(item, IndepMessenger)
        label = f"`{type(item).__name__}.{{}}`"
        yield from _entries(label, getattr(item, "__dict__", {}), watched=watched)
        yield from _of_class(type(item))


def _of_function(function: types.FunctionType) -> Iterator[Any]:
    yield from (function.__defaults__ or ())
    yield from (function.__kwdefaults__ or {}).values()
    name = function.__qualname__
    for variable, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            yield Place(f"`{variable}` in the closure of `{name}`", Cell(cell), (0,))
        except ValueError:  # still empty
            continue
    if _is_library(function):
        return
    names, scope = names_of(function), function.__globals__
    yield from _entries("global `{}`", scope, [n for n in names if n in scope])
    for module in (scope[n] for n in names if isinstance(scope.get(n), types.ModuleType)):
        if not _is_library(module):
            there = [n for n in names if n in vars(module)]
            yield from _entries(f"`{module.__name__}.{{}}`", vars(module), there)


def _of_module(module: nn.Module) -> Iterator[Any]:
    label = f"`{type(module).__name__}.{{}}`"
    for group in (module._parameters, module._buffers, module._modules):
        yield from _entries(label, group)
    own = vars(module)
    # Pyro's autoguides and transforms keep what they saw of the last call; it is no input of the next.
    keeps = type(module).__module__.startswith(("pyro.infer", "pyro.distributions"))
    attributes = [n for n in own if n not in OF_MODULES and not n.startswith("_pyro")]
    if _is_library(type(module)):
        attributes = [n for n in attributes if not n.startswith("_")]
    watched = ["training"] if keeps else attributes
    yield from _entries(label, own, watched)
    yield from _entries(label, own, [n for n in own if n not in watched], watched=False)
    yield from _of_class(type(module))


def _of_class(cls: type) -> Iterator[Any]:
    for kind in cls.__mro__:
        if not _is_library(kind):
            named = [n for n, v in vars(kind).items() if not n.startswith("__") and not _is_slot(v)]
            yield from _entries(f"`{kind.__name__}.{{}}`", vars(kind), [*named])
            yield from (v for n, v in vars(kind).items() if n in ("__call__", "__init__"))


def _is_slot(value: Any) -> bool:
    return isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)


def _entries(label: str, mapping: Any, keys: Any = None, watched: bool = True) -> Iterator[Place]:
    keys = tuple(mapping if keys is None else keys)
    if keys:
        yield Place(label, mapping, keys, watched)


def _is_library(item: Any) -> bool:
    """Whether the code of a function, class or module is not the user's own."""
    name = item.__name__ if isinstance(item, types.ModuleType) else item.__module__
    top = (name or "builtins").split(".")[0]
    if top in LIBRARIES or top in OURS or top in sys.stdlib_module_names - {"__main__"}:
        return True
    file = getattr(sys.modules.get(name or ""), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file
