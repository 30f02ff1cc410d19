"""How an operation is called: by the cheapest function of torch that comes to be exactly this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_impl.torch_private import OperationMode, direct, python_functions

# By operation and what kind of arguments it has.
_CALLS: dict[Any, Callable[..., Any]] = {}


def call_of(operation: Any, args: Any, kwargs: dict[str, Any], result: Any) -> Callable[..., Any]:
    """The cheapest call that comes to be exactly this operation with these arguments."""
    try:
        key = operation, _kinds(args), _kinds(kwargs)
        if key not in _CALLS:
            candidates = python_functions(operation)
            same = (f for f in candidates if _Probe(result).leads(f, operation, args, kwargs))
            _CALLS[key] = next(same, None) or direct(operation)
    except AttributeError:  # an operation of another kind
        return operation
    return _CALLS[key]


def _kinds(tree: Any) -> Any:
    if isinstance(tree, tuple | list):
        return type(tree), *map(_kinds, tree)
    if isinstance(tree, dict):
        return *tree, *map(_kinds, tree.values())
    return (type(tree), tree.dim() == 0) if isinstance(tree, Tensor) else type(tree)


class _Probe(OperationMode):
    """Sees which operation a call comes to, and runs nothing."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self._result = result
        self._seen: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._seen.append((func, args, kwargs or {}))
        return self._result

    def leads(self, call: Any, operation: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether `call` is this operation, alone, with the same arguments."""
        try:
            with self, torch.no_grad():
                call(*args, **kwargs)
        except (TypeError, RuntimeError):
            return False
        return len(self._seen) == 1 and _identical(self._seen[0], (operation, args, kwargs))


def _identical(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return one is other
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_identical, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_identical(v, other[k]) for k, v in one.items())
    return type(one) is type(other) and bool(one == other)
