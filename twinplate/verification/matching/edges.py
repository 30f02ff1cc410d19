"""The distance that draws keep from the edge of their support, so that both frameworks' functions are exact.

At the edge the frameworks part by themselves: torch clamps probabilities to 2⁻⁵² and its softplus, which is
in every sigmoid's Jacobian, is linear above 20; a change of x in the thirteenth digit changes 1 - x
altogether. No port is to blame for it, so no draw is taken there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# |logit(x)| is at most 19.4 here, and below the 20 of torch's softplus whatever a perturbed run adds;
# 2⁻⁴⁰, by which inputs are perturbed, is 2⁻¹² of the distance to 1: log(1 - x) can still be judged.
PROBABILITY = 2.0**-28
# Up to its tenth power and its reciprocals such a number is normal in double precision, itself in single.
LARGEST = 2.0**100
POSITIVE = ("positive", "nonnegative", "softplus_positive")
BOUNDED = ("unit_interval", "simplex")  # between 0 and 1


def kept_inside(
    values: npt.ArrayLike, support: str, arguments: Mapping[str, Array] | None = None
) -> Array:
    """Values of a latent site, moved inwards where they are too close to the edge of `support`.

    support: its name.  arguments: of the distribution, which say where an interval ends: `low` and
        `high`, or `loc` and `scale`. Some say so although the framework calls the support real.
    Values further inside are left as they are, to the bit; so are discrete ones, and those of a support
    whose edge is not known.

    >>> kept_inside([1e-20, 0.25], "unit_interval").tolist()
    [3.725290298461914e-09, 0.25]
    """
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        return values
    arguments = arguments or {}
    if support == "circular":
        return _interval(values, {"low": np.array(-np.pi), "high": np.array(np.pi)})
    if support == "interval" or {"low", "high"} <= arguments.keys():
        return _interval(values, arguments)
    if support == "real":
        return np.clip(values, -LARGEST, LARGEST)
    if support in POSITIVE:
        return np.clip(values, 1 / LARGEST, LARGEST)
    if support == "unit_interval":
        return np.clip(values, PROBABILITY, 1 - PROBABILITY)
    if support == "simplex":
        return _simplex(values)
    if support == "corr_cholesky":
        return _corr_cholesky(values)
    return values


def _interval(values: Array, arguments: Mapping[str, Array]) -> Array:
    if {"low", "high"} <= arguments.keys():
        low, width = arguments["low"], arguments["high"] - arguments["low"]
    elif {"loc", "scale"} <= arguments.keys():
        low, width = arguments["loc"], arguments["scale"]
    else:
        return values
    return np.clip(values, low + PROBABILITY * width, low + (1 - PROBABILITY) * width)


def _simplex(values: Array) -> Array:
    """No entry below `PROBABILITY`, and so none nearer to 1 either."""
    raised = np.maximum(values, PROBABILITY)
    outside = (raised != values).any(-1, keepdims=True)
    return np.where(outside, raised / raised.sum(-1, keepdims=True), values)


def _corr_cholesky(values: Array) -> Array:
    """The square of a diagonal entry is 1 minus the squares before it: none below `PROBABILITY`."""
    diagonal = np.diagonal(values, axis1=-2, axis2=-1)[..., None]
    raised = np.maximum(diagonal, np.sqrt(PROBABILITY))
    moved = np.where(np.eye(values.shape[-1], dtype=bool), raised, values)
    moved = moved / np.linalg.norm(moved, axis=-1, keepdims=True)
    return np.where(raised != diagonal, moved, values)
