"""Which graph a step takes: what it was made for, by its arguments and by torch's settings.

Shapes, strides and types decide which operations a program runs, and numbers which branches it takes; the
content of a tensor decides neither, or the program is not compiled.
"""

from __future__ import annotations

import functools
import types
from collections import OrderedDict
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.settings import matmul_precision

# By value; everything else that is no tensor could change without being seen.
BY_VALUE = (
    int,
    float,
    complex,
    bool,
    str,
    bytes,
    type(None),
    torch.dtype,
    torch.device,
    torch.Size,
)

AUTOCAST = (torch.is_autocast_enabled, torch.get_autocast_dtype)


# By identity; the guards look into them.
BY_IDENTITY = (nn.Module, Distribution, types.FunctionType, types.MethodType, functools.partial)


class _Same:
    """An object among the arguments: the same one, or an array of the same content."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._content = np.array(value) if isinstance(value, np.ndarray) else None

    def __hash__(self) -> int:
        return id(self.value) if self._content is None else hash(self._content.shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return False
        one, two = self._content, other._content
        if one is None or two is None:
            return self.value is other.value
        return one.dtype == two.dtype and one.tobytes() == two.tobytes() and one.shape == two.shape


def describe(value: Any, tensors: list[Tensor], objects: list[Any]) -> Any:
    """A hashable description of `value`, a tree; its tensors, and what the guards have to look into.

    Tensors are described by shape, strides, type and device, plain values and arrays by type and value,
    modules and functions by what they are. Raises CannotCompileError for anything else.
    """
    kind = type(value)
    if kind is Tensor or kind is nn.Parameter:
        if (what := _unusual(value)) is not None:
            raise CannotCompileError(f"a tensor among the arguments {what}")
        known = next((i for i, tensor in enumerate(tensors) if tensor is value), len(tensors))
        if known == len(tensors):
            tensors.append(value)
        return known, value.shape, value.stride(), value.dtype, value.device
    if (parts := _parts(value)) is not None:
        return (kind, *[(k, describe(v, tensors, objects)) for k, v in parts])
    if kind in BY_VALUE or isinstance(value, np.generic):
        return kind, value
    if kind is np.ndarray and not value.dtype.hasobject:
        return _Same(value)
    if isinstance(value, BY_IDENTITY):
        objects.append(value)
        return _Same(value)
    raise CannotCompileError(
        f"an argument is a {kind.__module__}.{kind.__qualname__}; expected tensors, arrays, numbers, "
        "strings, modules, functions, and tuples, lists, dictionaries and dataclasses of them"
    )


def _unusual(tensor: Tensor) -> str | None:
    """Why no record takes a tensor as an argument, or None."""
    if tensor.layout is not torch.strided:
        return "is sparse"
    if tensor.is_conj() or tensor.is_neg():
        return "is a conjugate that is yet to be computed; give `x.resolve_conj().resolve_neg()`"
    return "requires a gradient" if tensor.requires_grad else None


def rebuilt(value: Any, instead: dict[int, Tensor]) -> Any:
    """`value` with other tensors, by the identity of the old ones."""
    if isinstance(value, Tensor):
        return instead[id(value)]
    if (parts := _parts(value)) is None:
        return value
    kind: Any = type(value)
    new = [(k, rebuilt(v, instead)) for k, v in parts]
    if isinstance(value, dict):
        return kind(new)
    if isinstance(value, list | tuple):
        return getattr(kind, "_make", kind)(v for _, v in new)
    other = copy(value)
    for name, held in new:
        object.__setattr__(other, name, held)  # of a frozen one too
    return other


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    """What an argument holds, by its place or name; None for what is no container.

    By exact type, but for named tuples and dataclasses: other classes may behave as they like.
    """
    kind = type(value)
    if kind in (tuple, list) or (isinstance(value, tuple) and hasattr(kind, "_make")):
        return [*enumerate(value)]
    if kind in (dict, OrderedDict):
        return [*value.items()]
    if not is_dataclass(kind) or isinstance(value, BY_IDENTITY):
        return None
    names = [f.name for f in fields(value) if hasattr(value, f.name)]
    names += getattr(value, "__dict__", ())  # what it has beside its fields
    return [(name, getattr(value, name)) for name in dict.fromkeys(names)]


def surroundings() -> tuple[Any, ...]:
    """Settings of torch that change what the same operations compute."""
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        *(f(d) for d in ("cpu", "cuda") for f in AUTOCAST),
        *matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )
