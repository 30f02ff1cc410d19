"""Is this a program of a twin, and of the right one? If not: what to wrap, and in which class."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from twinplate.errors import InputError
from twinplate.programs.program import ReferenceProgram
from twinplate.records.record import Run
from twinplate.user_code import names_of, owner_of_module, top_level

CLASSES = {"pyro": "pyro_impl.Program", "numpyro": "numpyro_impl.Program"}


def is_program(value: Any) -> bool:
    """Whether `value` is a program of one of the twins, that can be recorded."""
    return not isinstance(value, type) and hasattr(value, "session") and hasattr(value, "framework")


def check_is_program(value: Any, which: str = "program") -> None:
    """Raise InputError for functions, and whatever else is no program of a twin.

    which: how the message calls it, such as "first program".
    """
    if is_program(value):
        return
    called = frameworks_of(value)
    name = getattr(value, "__name__", "model")
    classes = [CLASSES[framework] for framework in CLASSES if framework in (called or CLASSES)]
    argument = name if name.isidentifier() else "model"  # no name: "<lambda>"
    todo = " or ".join(f"{of}({argument}, guide)" for of in classes)
    if isinstance(value, ReferenceProgram):
        what = "a twinplate.ReferenceProgram, a reference program's configuration"
    elif isinstance(value, types.FunctionType):
        what = f"the plain function {name!r}"
    else:
        what = f"of type {type(value).__name__}"
    raise InputError(
        f"the {which} is {what}; expected a model, and its guide where it has one, in the Program of its "
        f"framework: {todo}"
    )


def check_sites(program: Any, found: Run) -> None:
    """Raise InputError for a model or guide of the other framework, and for a model without sites."""
    for role, sites, function in zip(
        ("model", "guide"), (found.model, found.guide), program.functions, strict=False
    ):
        called = frameworks_of(function) if not sites else set()
        if called and program.framework not in called:
            (other,) = called
            raise InputError(
                f"the {role} {getattr(function, '__name__', '')!r} calls {other}, but it is wrapped in "
                f"{CLASSES[program.framework]}; wrap it in {CLASSES[other]}(model, guide)"
            )
    if not found.model and found.failure is None:
        raise InputError(f"the {program.framework} model has no sites: there is nothing to compare")


def frameworks_of(*programs: Any) -> set[str]:
    """Which of Pyro and NumPyro these functions or modules are of, by the names in their code.

    >>> import pyro
    >>> frameworks_of(pyro.distributions.Normal, pyro.sample)
    {'pyro'}
    """
    found, seen, waiting = set(), set(), list(programs)
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        found |= {top_level(name) for name in _modules(item)} & CLASSES.keys()
        waiting += _code(item)
    return found


def _modules(item: Any) -> Iterator[str | None]:
    """Names of the modules that an object, or its class, is of."""
    if isinstance(item, types.ModuleType):
        yield item.__name__
    elif isinstance(item, type):
        yield from (base.__module__ for base in item.__mro__)
    else:
        yield getattr(item, "__module__", None)
        yield from (base.__module__ for base in type(item).__mro__)


def _code(item: Any) -> list[Any]:
    """What the code of a user's function names, and the functions that another object stands for."""
    if isinstance(item, functools.partial):
        return [item.func]
    if isinstance(item, types.MethodType):
        return [item.__func__]
    if not isinstance(item, types.FunctionType):
        return []
    if owner_of_module(item.__module__) != "user":
        return [] if (inner := inspect.unwrap(item)) is item else [inner]
    named = []
    for cell in item.__closure__ or ():
        with suppress(ValueError):  # an empty cell
            named.append(cell.cell_contents)
    return named + [item.__globals__[n] for n in names_of(item) if n in item.__globals__]
