"""Whether what a file gave is what the fields of a dataclass are declared to hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np


def check_types(value: Any, declared: Any, where: str = "it") -> None:
    """Raise TypeError, naming the place, unless `value` and all that is in it are of the declared types.

    These may be dataclasses, arrays, dictionaries, tuples, plain types and unions of such.

    >>> check_types({"a": (1, 2)}, dict[str, tuple[int, ...]])
    >>> check_types({"a": (1, "b")}, dict[str, tuple[int, ...]])
    Traceback (most recent call last):
    TypeError: it['a'][1] is of type str
    """
    origin, arguments = get_origin(declared), get_args(declared)
    if origin in (Union, UnionType):
        declared = next((one for one in arguments if _is_one(value, one)), arguments[0])
        return check_types(value, declared, where)
    if not _is_one(value, declared):
        raise TypeError(f"{where} is of type {type(value).__name__}")
    for inner, kind, place in _parts(value, origin, arguments):
        check_types(inner, kind, where + place)
    return None


def _is_one(value: Any, declared: Any) -> bool:
    """Whether the outermost type fits; True is no number, and a whole number is a float too."""
    kind = get_origin(declared) or declared
    kind = getattr(kind, "__value__", kind)  # of an alias, as NDArray is one since NumPy 2.5
    kind = get_origin(kind) or kind
    if kind is Any:
        return True
    if isinstance(value, bool) and kind is not bool:
        return False
    return isinstance(value, int | float if kind is float else kind)


def _parts(value: Any, origin: Any, arguments: Any) -> Iterator[tuple[Any, Any, str]]:
    """What is inside of a value, with its declared type and how a message names it."""
    if isinstance(value, np.ndarray):
        return
    if is_dataclass(value):
        hints = get_type_hints(type(value))
        yield from ((getattr(value, name), hint, f".{name}") for name, hint in hints.items())
    elif origin is dict:
        yield from ((key, arguments[0], f" key {key!r}") for key in value)
        yield from ((inner, arguments[1], f"[{key!r}]") for key, inner in value.items())
    elif origin is tuple:
        many = arguments[-1:] == (...,)
        kinds = (arguments[0],) * len(value) if many else arguments
        if len(kinds) != len(value):
            raise TypeError(f"{len(value)} values are given for {len(kinds)}")
        yield from ((v, k, f"[{i}]") for i, (v, k) in enumerate(zip(value, kinds, strict=True)))
