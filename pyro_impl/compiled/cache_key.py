"""Which graph a step takes: what it was made for, by its arguments and by torch's settings.

Shapes, strides and types decide which operations a program runs, and numbers which branches it takes; the
content of a tensor decides neither, or the program is not compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pyro_impl.compiled.errors import CannotCompileError

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


def describe(value: Any, tensors: list[Tensor]) -> Any:
    """A hashable description of `value`, a tree of tensors and plain values; its tensors, in order.

    Tensors are described by shape, strides, type and device, everything else by type and value. Raises
    CannotCompileError for what is neither.
    """
    kind = type(value)
    if kind is Tensor or kind is nn.Parameter:
        if value.requires_grad or value.layout is not torch.strided:
            what = "requires a gradient" if value.requires_grad else "is sparse"
            raise CannotCompileError(f"a tensor among the arguments {what}")
        tensors.append(value)
        return value.shape, value.stride(), value.dtype, value.device
    # By exact type: a class derived from one of these may behave as it likes.
    if kind is tuple or kind is list:
        return (kind, *[describe(v, tensors) for v in value])
    if kind is dict:
        return (kind, *[(k, describe(v, tensors)) for k, v in value.items()])
    if kind in BY_VALUE:
        return kind, value
    raise CannotCompileError(
        f"an argument is a {kind.__module__}.{kind.__qualname__}; expected tensors, numbers, strings, "
        "and tuples, lists and dictionaries of them"
    )


def rebuilt(value: Any, take: Callable[[], Tensor]) -> Any:
    """`value` with other tensors, in the order of `describe`."""
    if isinstance(value, Tensor):
        return take()
    if type(value) in (tuple, list):
        return type(value)([rebuilt(v, take) for v in value])
    if type(value) is dict:
        return {k: rebuilt(v, take) for k, v in value.items()}
    return value


def surroundings() -> tuple[Any, ...]:
    """Settings of torch that change what the same operations compute."""
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        *(f(d) for d in ("cpu", "cuda") for f in AUTOCAST),
        torch.get_float32_matmul_precision(),
    )
