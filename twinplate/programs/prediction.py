"""What a fitted model predicts of the entries of items, observed or missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import Array


@dataclass(frozen=True, eq=False)
class Prediction:
    """A normal for every entry of `x` (N, D): what a measurement of it would be, given its item.

    x: as it was given, NaN where missing.  mean, scale: (N, D), the noise of the measurement included.

    >>> import numpy as np
    >>> from twinplate import Prediction
    >>> found = Prediction(np.array([[3.0, np.nan]]), np.array([[2.5, 4.0]]), np.array([[0.5, 1.0]]))
    >>> found.imputed
    array([[3., 4.]])
    >>> low, high = found.interval(0.95)
    >>> low.round(2), high.round(2)
    (array([[1.52, 2.04]]), array([[3.48, 5.96]]))
    """

    x: Array
    mean: Array
    scale: Array

    @property
    def imputed(self) -> Array:
        """`x` with the mean in place of what is missing, (N, D)."""
        return np.where(np.isnan(self.x), self.mean, self.x)

    def interval(self, level: float = 0.9) -> tuple[Array, Array]:
        """The ends (N, D) of the central interval that holds a measurement with probability `level`.

        Raises InputError unless 0 < level < 1.
        """
        half = float(scipy.special.ndtri((1 + check_level(level)) / 2))
        return self.mean - half * self.scale, self.mean + half * self.scale

    def of(self, entries: np.ndarray) -> Prediction:
        """That of some entries, where a boolean array (N, D) is true, with one axis."""
        return Prediction(self.x[entries], self.mean[entries], self.scale[entries])


def check_level(level: float) -> float:
    """The level as it is. Raises InputError unless it is a probability."""
    if not 0 < level < 1:
        raise InputError(
            f"level is {level}; expected a probability above 0 and below 1, such as 0.9"
        )
    return level
