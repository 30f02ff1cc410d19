"""What a program reads besides its arguments: closures, globals that its code names, attributes, entries.

Libraries are not looked into: torch, Pyro, NumPy, SciPy, the standard library, and what is installed,
but for the packages of the program itself.
"""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Iterator
from functools import partial
from operator import attrgetter
from typing import Any

from pyro.infer.elbo import ELBO
from pyro.poutine.indep_messenger import IndepMessenger
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.distributions import Distribution

from pyro_impl.compiled.guarded_places import GuardedContainer, GuardedPlace
from pyro_impl.torch_private import MODULE_HOOKS, MODULE_TABLES
from twinplate.user_code import FRAMEWORKS, PROJECT, names_of, owner_of_module, top_level

# Callables that hold another one, and what it is called with.
CALLED = (types.MethodType, functools.partial, property, staticmethod, classmethod)
CONTAINERS = (dict, list, deque, set, tuple, frozenset)
# Modules of the standard library whose objects are there to hold the user's own.
HOLDERS = ("argparse", "collections", "configparser", "functools", "types")
OF_MODULES = vars(nn.Module()).keys() - {"training"}


class Sources:
    """Looks into objects. `roots` are the program: the packages that they are defined in are the user's."""

    def __init__(self, *roots: Any) -> None:
        packages = {package for root in roots for package in _packages(root)}
        self._own = packages - FRAMEWORKS - PROJECT

    def inside(self, item: Any) -> Iterator[Any]:
        """Places of `item`, containers as a whole, and other objects to look into."""
        if isinstance(item, CONTAINERS):
            yield from _of_container(item)
        if isinstance(item, types.FunctionType):
            yield from self._of_function(item)
        elif isinstance(item, CALLED):
            yield from _of_callable(item)
        elif isinstance(item, nn.Module):
            yield from self._of_module(item)
        elif isinstance(item, type):
            yield from self._of_class(item)
        elif isinstance(item, Distribution | Messenger | ELBO):
            # A plate counts how often it was entered; that is no input of its next use.
            watched = not isinstance(item, IndepMessenger)
            yield from _entries(_label(item), vars(item), watched=watched)
            yield from self._of_class(type(item))
        elif type(item).__module__ in HOLDERS or not self._is_library(type(item)):
            yield from self._of_object(item)

    def _of_function(self, function: types.FunctionType) -> Iterator[Any]:
        yield from (function.__defaults__ or ())
        yield from (function.__kwdefaults__ or {}).values()
        name = function.__qualname__
        modules = []
        for variable, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                yield _attributes(
                    f"`{variable}` in the closure of `{name}`", cell, ("cell_contents",)
                )
            except ValueError:  # still empty
                continue
            modules.append(cell.cell_contents)
        if self._is_library(function):
            return
        if vars(function):
            yield from _all(f"`{name}`", f"`{name}.{{}}`", vars(function))
        names, scope = names_of(function), function.__globals__
        yield from _entries("global `{}`", scope, [n for n in names if n in scope])
        modules += [scope.get(n) for n in names]
        # Imported in the function itself: its code has the name, its globals have not.
        modules += [
            sys.modules.get(m) for n in names for m in (n, f"{scope.get('__package__')}.{n}")
        ]
        yield from self._of_modules(modules, names)

    def _of_modules(self, modules: list[Any], names: list[str]) -> Iterator[GuardedPlace]:
        """What code with these names reads from modules, and from modules in them."""
        seen = set()
        for module in modules:  # grows
            if not isinstance(module, types.ModuleType) or module.__name__ in seen:
                continue
            seen.add(module.__name__)
            if not self._is_library(module):
                there = [n for n in names if n in vars(module)]
                yield from _entries(f"`{module.__name__}.{{}}`", vars(module), there)
                modules += [vars(module)[n] for n in there]

    def _of_module(self, module: nn.Module) -> Iterator[Any]:
        label, own = _label(module), vars(module)
        for group in (
            *MODULE_TABLES,
            "_pyro_samples",
            "_pyro_params",
            *MODULE_HOOKS,
        ):
            if group in own:
                yield from _all(f"`{type(module).__name__}.{group}`", label, own[group])
        # Pyro's autoguides and transforms keep what they saw of the last call; it is no input of the next.
        keeps = type(module).__module__.startswith(("pyro.infer", "pyro.distributions"))
        attributes = [n for n in own if n not in OF_MODULES and not n.startswith("_pyro")]
        if self._is_library(type(module)):
            attributes = [n for n in attributes if not n.startswith("_")]
        else:
            yield GuardedContainer(f"a `{type(module).__name__}`", own)
        watched = ["training"] if keeps else attributes
        yield from _entries(label, own, watched)
        yield from _entries(label, own, [n for n in own if n not in watched], watched=False)
        yield from self._of_class(type(module))

    def _of_class(self, cls: type) -> Iterator[Any]:
        for kind in cls.__mro__:
            if not self._is_library(kind):
                read = [n for n, v in vars(kind).items() if not _is_special(n) and not _is_slot(v)]
                label, put = f"`{kind.__name__}.{{}}`", partial(setattr, kind)
                yield from _entries(label, vars(kind), read, put=put)
                special = (v for n, v in vars(kind).items() if _is_special(n))
                yield from (v for v in special if isinstance(v, types.FunctionType))

    def _of_object(self, item: Any) -> Iterator[Any]:
        own = getattr(item, "__dict__", None)
        if isinstance(own, dict):
            yield from _all(f"a `{type(item).__name__}`", _label(item), own)
        slots = [
            name
            for kind in type(item).__mro__
            if not self._is_library(kind)
            for name, value in vars(kind).items()
            if isinstance(value, types.MemberDescriptorType) and hasattr(item, name)
        ]
        if slots:
            yield _attributes(_label(item), item, tuple(slots))
        yield from self._of_class(type(item))

    def _is_library(self, item: Any) -> bool:
        """Whether the code of a function, class or module is not the user's own."""
        name = item.__name__ if isinstance(item, types.ModuleType) else item.__module__
        return top_level(name) not in self._own and owner_of_module(name) != "user"


def _packages(root: Any) -> set[str]:
    """Where the code of a model, guide or loss is defined; handlers around it are partial functions."""
    if isinstance(root, functools.partial):
        return set().union(*map(_packages, (root.func, *root.args)))
    named = root if isinstance(root, types.FunctionType | types.MethodType) else type(root)
    return {top_level(named.__module__)} - {"builtins", "functools"}


def _of_container(item: Any) -> Iterator[Any]:
    kind = type(item).__name__
    if isinstance(item, dict):
        yield from _all(f"a {kind}", f"entry {{!r}} of a {kind}", item)
    elif isinstance(item, list | deque):
        yield GuardedContainer(f"a {kind}", item)
        yield from _entries(f"entry {{}} of a {kind}", item, range(len(item)))
    else:
        if isinstance(item, set):
            yield GuardedContainer(f"a {kind}", item)
        yield from item


def _of_callable(item: Any) -> tuple[Any, ...]:
    if isinstance(item, functools.partial):
        return item.func, *item.args, *item.keywords.values()
    if isinstance(item, property):
        return (item.fget,)
    return item.__func__, getattr(item, "__self__", None)


def _all(whole: str, label: str, mapping: dict[Any, Any]) -> Iterator[Any]:
    yield GuardedContainer(whole, mapping)
    yield from _entries(label, mapping)


def _entries(label: str, mapping: Any, keys: Any = None, **settings: Any) -> Iterator[GuardedPlace]:
    keys = tuple(mapping if keys is None else keys)
    if keys:
        yield GuardedPlace(label, mapping, keys, **settings)


def _attributes(label: str, item: Any, names: tuple[str, ...]) -> GuardedPlace:
    put = partial(object.__setattr__, item)  # of a frozen dataclass too
    return GuardedPlace(label, item, names, getter=attrgetter, put=put)


def _label(item: Any) -> str:
    return f"`{type(item).__name__}.{{}}`"


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_slot(value: Any) -> bool:
    return isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)
