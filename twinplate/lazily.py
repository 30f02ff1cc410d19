"""Public names that are imported when they are asked for, each with no more than it needs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def public_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose module `public` says where its public names are.

    That module is read, not run: a verdict on two programs does without the imports of training and the other
    way round, which take longer than a small verdict (https://peps.python.org/pep-0562/; the reading is that
    of https://scientific-python.org/specs/spec-0001/).

    >>> look_up, names = public_names("twinplate")
    >>> look_up("InputError").__name__, "InputError" in names()
    ('InputError', True)
    """

    @cache
    def places() -> dict[str, tuple[str, str]]:
        public = f"{package}.public"
        spec: Any = find_spec(public)
        if not spec.origin.endswith(".py"):  # an installation without sources
            return {name: (public, name) for name in import_module(public).__all__}
        # not get_source, which the loader of modules whose assertions pytest rewrites does not have
        imports = ast.parse(spec.loader.get_data(spec.origin)).body
        return {
            name.asname or name.name: (statement.module, name.name)
            for statement in imports
            if isinstance(statement, ast.ImportFrom) and statement.module
            for name in statement.names
        }

    def look_up(name: str) -> Any:
        """A public name, or a module. Raises AttributeError for another."""
        if name == "__all__":
            return sorted(places())
        if name not in places():
            if not name.startswith("_") and find_spec(f"{package}.{name}"):
                return import_module(f"{package}.{name}")
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, name_there = places()[name]
        try:
            value = getattr(import_module(module), name_there)
        except AttributeError as error:  # which Python would take for "no such name", and hide
            raise ImportError(f"{module} cannot be imported: {error}") from error
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places()})

    return look_up, names
