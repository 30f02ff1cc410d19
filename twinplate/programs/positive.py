"""Positive values as real numbers that can be learned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT_SHIFT = float(np.log(np.e - 1))  # softplus(UNIT_SHIFT) is 1
# No scale is less. Softplus of what an encoder puts out for a far item is zero in single precision, and one
# zero makes the loss of the mini-batch infinite. Squares and their inverses are finite.
LEAST_POSITIVE = 1e-12


def number_of(positive: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """What an encoder must put out for positive values: the inverse of softplus(· + UNIT_SHIFT)."""
    values = np.asarray(positive, dtype=np.float64)
    return values + np.log(-np.expm1(-values)) - UNIT_SHIFT
