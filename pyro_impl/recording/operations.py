"""Which numerical functions of torch a program calls, and with which options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# function -> the options that change its numbers, with torch's defaults, in the order of its arguments
OPTIONS: dict[str, dict[str, Any]] = {
    "batch_norm": {"eps": 1e-05},
    "celu": {"alpha": 1.0},
    "elu": {"alpha": 1.0},
    "gelu": {"approximate": "none"},
    "group_norm": {"eps": 1e-05},
    "layer_norm": {"eps": 1e-05},
    "leaky_relu": {"negative_slope": 0.01},
    "nan_to_num": {"nan": 0.0},
    "normalize": {"eps": 1e-12},
    "softplus": {"beta": 1, "threshold": 20},
    "std": {"correction": 1},
    "std_mean": {"correction": 1},
    "var": {"correction": 1},
    "var_mean": {"correction": 1},
}
# what moves or describes numbers and does not change them
IDLE = {
    "arange", "as_tensor", "broadcast_tensors", "clone", "contiguous", "detach", "dim", "empty",
    "expand", "expand_as", "full", "is_complex", "is_floating_point", "is_tensor", "item", "new",
    "new_empty", "new_full", "new_ones", "new_tensor", "new_zeros", "normal_", "numel", "ones",
    "ones_like", "requires_grad_", "reshape", "size", "squeeze", "stride", "tensor", "tolist",
    "uniform_", "unsqueeze", "view", "zeros", "zeros_like",
}  # fmt: skip

_NARROW = (torch.float32, torch.float16, torch.bfloat16)
_WIDE = (torch.float64, torch.int64)
_FROM_OUTSIDE = ("tensor", "as_tensor", "asarray")  # a tensor of what is none


class Operations(TorchFunctionMode):
    """Adds functions called inside to `names`, "gelu(approximate=none)", and casts, "float64 to float32"."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if not name.startswith("_") and name not in IDLE:
            self.names.add(described(name, args, kwargs))
        made = func(*args, **kwargs)
        if isinstance(made, Tensor) and made.dtype in _NARROW:
            self.names.update(_casts(name, args, made))
        return made


def _casts(name: str, args: tuple[Any, ...], made: Tensor) -> Iterator[str]:
    """The types of wide numbers, and the narrow one in which a function gave them: "float64 to float32"."""
    if any(isinstance(x, Tensor) and x.dtype in _NARROW for x in args):
        return  # whole numbers beside it may be an index
    for x in args:
        wide = isinstance(x, Tensor) and x.dtype in _WIDE
        if wide or name in _FROM_OUTSIDE:
            yield f"{_short(x.dtype) if wide else 'numbers'} to {_short(made.dtype)}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def described(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The name of a function with the options that change its numbers."""
    options = OPTIONS.get(name, {})
    given = {**options, **{k: v for k, v in kwargs.items() if k in options and v is not None}}
    if "correction" in options:
        flags = [a for a in args[1:] if isinstance(a, bool)] or [kwargs.get("unbiased", True)]
        given["correction"] = kwargs.get("correction", int(flags[0]))
    text = ", ".join(f"{key}={value}" for key, value in given.items())
    return f"{name}({text})" if text else name
