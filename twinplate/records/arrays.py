"""Whether an array that a file gave has the shape and holds the kind of numbers that it is declared to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NUMBERS, TRUTHS = "biuf", "b"  # kinds of NumPy dtypes


def check_array(
    what: str,
    array: npt.NDArray[Any] | None,
    shape: tuple[int, ...] | None = None,
    kinds: str = NUMBERS,
    *,
    broadcasts: bool = False,
) -> None:
    """Raise ValueError unless `array` is None, or of this shape and one of these kinds.

    shape: None for any.  kinds: of dtypes, by NumPy's letters.
    broadcasts: whether a shape will do that broadcasts to this one.

    >>> check_array("mask", np.ones((1, 3), bool), (2, 3), TRUTHS, broadcasts=True)
    >>> check_array("mask", np.ones((1, 3), bool), (2, 3), TRUTHS)
    Traceback (most recent call last):
    ValueError: the mask is of shape (1, 3); expected (2, 3)
    """
    if array is None:
        return
    if array.dtype.kind not in kinds:
        expected = "truth values" if kinds == TRUTHS else "numbers"
        raise ValueError(f"the {what} is of dtype {array.dtype}; expected {expected}")
    if shape is None or array.shape == shape or (broadcasts and _broadcasts(array.shape, shape)):
        return
    raise ValueError(f"the {what} is of shape {array.shape}; expected {shape}")


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False
