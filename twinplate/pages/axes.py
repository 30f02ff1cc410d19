"""Axes of a chart: from numbers to places in a picture, and round numbers for the ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 420, 270  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 46  # beside the plotted area


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, logarithmic if `log`; `label` says what it is, with its unit.

    >>> Axis(0.0, 10.0, "steps").ticks()
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    >>> Axis(0.01, 20.0, "nats", log=True).ticks()
    [0.01, 0.1, 1.0, 10.0]
    """

    low: float
    high: float
    label: str
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], label: str, log: bool = False) -> Axis:
        """An axis that holds the finite ones of the values, positive ones if `log`, with some room."""
        found = np.asarray(values, np.float64)
        found = found[np.isfinite(found) & ((found > 0) | (not log))]
        low, high = (float(found.min()), float(found.max())) if found.size else (1.0, 1.0)
        if log:
            return cls(low / 1.3, high * 1.3, label, log)
        room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
        return cls(low - room, high + room, label)

    def place(self, values: np.ndarray) -> np.ndarray:
        """0 at `low`, 1 at `high`."""
        low, high, values = self.low, self.high, np.asarray(values, np.float64)
        if self.log:
            low, high, values = math.log(low), math.log(high), np.log(np.maximum(values, 1e-300))
        return (values - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers, about five of them; powers of ten on a logarithmic axis of two or more."""
        found = self._powers() if self.log else []
        if len(found) > 1:
            return found
        step = _round_step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{n * step:.12g}") for n in range(first, last + 1)]

    def _powers(self) -> list[float]:
        """Powers of ten, and where there are not two of them their doubles and fivefold, too."""
        powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
        steps = (1,) if len(powers) > 1 else (1, 2, 5)
        exponents = range(powers.start - 1, powers.stop + 1)
        found = [float(f"{step}e{n}") for n in exponents for step in steps]
        inside = [value for value in found if self.low <= value <= self.high]
        return inside[:: max(1, len(powers) // 6)]


def _round_step(about: float) -> float:
    """The one of 1, 2, 5, 10, ... times a power of ten that is nearest above 0.7 of `about`."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= 0.7 * about)


def across(axis: Axis, values: np.ndarray, left: int = LEFT) -> np.ndarray:
    """Places from the left, in units of the picture."""
    return left + axis.place(values) * (WIDTH - left - RIGHT)


def up(axis: Axis, values: np.ndarray, height: int = HEIGHT) -> np.ndarray:
    """Places from the top, in units of the picture."""
    return height - BOTTOM - axis.place(values) * (height - TOP - BOTTOM)
