"""Comparison of the factors by which two programs scale the log densities of a site."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinplate.records.record import Site
from twinplate.verification.comparison.correspondence import Reduce, moved, reducers
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.places import of_densities

Array = npt.NDArray[np.float64]

AGREEMENT = (
    2.0**-20
)  # relative: single precision may have rounded a factor; the densities are exact


def scales(first: Site, second: Site) -> tuple[Array, Array] | None:
    """The factors of both programs where an element counts in both, NaN elsewhere.

    Numbers where both are numbers, otherwise (P, …) in the batch dims that both programs have; None
    where the dims do not correspond.
    """
    if not isinstance(first.scale, np.ndarray) and not isinstance(second.scale, np.ndarray):
        return np.asarray(first.scale), np.asarray(second.scale)
    correspondence = moved(first, second)
    if correspondence is None or first.log_prob is None or second.log_prob is None:
        return None
    reduce_first, reduce_second = reducers(correspondence)
    a, counts = _factors(first, reduce_first)
    b, counts_too = _factors(second, reduce_second)
    both = counts & counts_too
    return np.where(both, a, np.nan), np.where(both, b, np.nan)


def _factors(site: Site, reduce: Reduce) -> tuple[Array, npt.NDArray[np.bool_]]:
    """The factor of each element, and whether it counts."""
    shape = np.shape(site.log_prob)  # type: ignore[arg-type]
    mask = True if site.mask is None else site.mask
    scale = reduce(np.broadcast_to(site.scale, shape), np.mean)
    return scale, reduce(np.broadcast_to(mask, shape), np.any)


def scales_agree(first: Site, second: Site) -> bool:
    """Whether both programs scale every element by the same factor."""
    found = scales(first, second)
    return found is not None and not _apart(*found).any()


def _apart(a: Array, b: Array) -> npt.NDArray[np.bool_]:
    return np.abs(a - b) > AGREEMENT * np.maximum(np.abs(a), np.abs(b))


def compare_scales(program: str, name: str, first: Site, second: Site) -> Finding | None:
    """The finding where the factors differ, at the place where they do most; None where they agree."""
    found = None if first.log_prob is None else scales(first, second)
    if found is None or not (apart := _apart(*found)).any():
        return None
    a, b = found
    message = "has its log density scaled by another factor"
    place = np.unravel_index(int(np.argmax(np.where(apart, np.abs(a - b), -1.0))), a.shape)
    if a.ndim:
        where = of_densities(len(a), first, second)(tuple(map(int, place)))
        message += f" ({int(apart.sum())} of {a.size} numbers at {where})"
    shown = (f"{x[place]:.6g}" for x in (a, b))
    return Finding("difference", "density", program, name, message, *shown)
