"""Factors of log densities: one number, or a weight for each element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def scale_of(scales: Sequence[npt.ArrayLike], batch_shape: tuple[int, ...]) -> float | Array:
    """The factor of a site's log densities from the scale of each of P particles.

    One number where it is the same everywhere; otherwise (P, *batch_shape).

    >>> scale_of([2.0, 2.0], (3,))
    2.0
    >>> scale_of([[1.0, 2.0]], (2,)).tolist()
    [[1.0, 2.0]]
    """
    factors = np.stack([_factor(np.asarray(s, np.float64), batch_shape) for s in scales])
    numbers = np.unique(factors)
    return float(numbers[0]) if numbers.size == 1 else factors


def _factor(scale: Array, batch_shape: tuple[int, ...]) -> Array:
    """What multiplies each log density: where a scale has more dims than these, it counts them all."""
    try:
        wide = np.broadcast_shapes(scale.shape, batch_shape)
    except ValueError:  # the program's loss will say so
        return np.ones(batch_shape)
    scale = np.broadcast_to(scale, wide)
    scale = scale.sum(axis=tuple(range(len(wide) - len(batch_shape))))
    repeated = tuple(
        i for i, (a, b) in enumerate(zip(scale.shape, batch_shape, strict=True)) if a != b
    )
    return np.asarray(scale.sum(axis=repeated, keepdims=True))
