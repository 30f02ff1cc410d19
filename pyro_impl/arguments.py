"""A program's arguments: arrays as tensors, and plain values that stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_impl.device import DTYPES
from twinplate.verification.frames import is_frame, with_reals
from twinplate.verification.trees import map_leaves


@dataclass(frozen=True)
class Inputs:
    """`args` and `kwargs` as the program is to be called."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def make_inputs(args: Any, kwargs: dict[str, Any], precision: str) -> Inputs:
    """Floating arrays in `precision`, whole numbers as int64; arrays of any library, and frames as frames."""

    def convert(leaf: Any) -> Any:
        if is_frame(leaf):
            return with_reals(lambda values: values.astype(precision), leaf)
        return to_leaf(leaf, precision) if _is_array(leaf) else leaf

    return Inputs(map_leaves(convert, tuple(args)), map_leaves(convert, dict(kwargs)))


def to_leaf(values: Any, precision: str) -> Tensor:
    """A fresh tensor of the session's types."""
    values = _numpy(values)
    types = {"f": DTYPES[precision], "b": torch.bool, "i": torch.int64, "u": torch.int64}
    return torch.tensor(np.array(values, order="C"), dtype=types.get(values.dtype.kind))


def _is_array(leaf: Any) -> bool:
    is_array = isinstance(leaf, Tensor) or hasattr(leaf, "__array__")
    return is_array and _numpy(leaf).dtype.kind in "biufc"


def _numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
