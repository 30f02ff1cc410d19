"""Known mistakes about the factors of log densities: of a subsample, by hand, or of each observation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from twinplate.records.record import Plate, Site
from twinplate.verification.comparison.context import Context, alike
from twinplate.verification.comparison.scales import scales

Array = npt.NDArray[np.float64]


def scaling(context: Context) -> str | None:
    """The factor N/B of a subsample is missing, or applied twice."""
    found = _scales(context)
    if found is None or context.first is None or context.second is None:
        return None
    first, second = context.first, context.second
    ratio = found[0] / found[1]
    for plate in (p for site in (first, second) for p in site.plates):
        factor = plate.size / plate.subsample_size
        if factor != 1 and (
            alike(ratio, 0 * ratio + factor) or alike(1 / ratio, 0 * ratio + factor)
        ):
            return _of_subsample(plate, first, second, *found)
    return None


def _of_subsample(plate: Plate, first: Site, second: Site, a: Array, b: Array) -> str:
    """What each program applies of the factor by its plates, and by scales of its own."""
    shown = f"The factor is N/B = {plate.size}/{plate.subsample_size} of plate {plate.name}"
    by_hand = a / _of_plates(first), b / _of_plates(second)
    if alike(*by_hand):
        return (
            f"{shown}: one program lacks the subsample scaling; give its plate the full size and the "
            "subsample size"
        )
    factor = plate.size / plate.subsample_size
    which = "first" if abs(a.flat[0]) > abs(b.flat[0]) else "second"
    of_plates = {"first": _of_plates(first), "second": _of_plates(second)}
    if math.isclose(of_plates["first"], of_plates["second"]):
        return (
            f"{shown}: in the {which} program the subsampled plate applies it, and a scale of its own "
            f"once more; drop the scale of {factor:.6g}"
        )
    return (
        f"{shown}: the plates of the first program give {of_plates['first']:.6g} and those of the second "
        f"{of_plates['second']:.6g}, and what the programs scale by themselves does not make up for it"
    )


def _of_plates(site: Site) -> float:
    return math.prod(p.size / p.subsample_size for p in site.plates)


def subsampled(context: Context) -> str | None:
    """A plate is given the size of its subsample as its full size, and no scale makes up for it."""
    if context.first is None or context.second is None or context.finding.stage != "plates":
        return None
    first, second = context.first, context.second
    for p, q in [(p, q) for p in first.plates for q in second.plates if p.dim == q.dim]:
        short, full = sorted((p, q), key=lambda plate: plate.size)
        if not short.size == short.subsample_size == full.subsample_size < full.size:
            continue
        which, site, other = ("first", first, second) if short is p else ("second", second, first)
        shown = f"Plate {short.name} has the size of the subsample in the {which} program, which "
        factor = f"the factor N/B = {full.size}/{full.subsample_size}"
        if alike(site.scale, np.asarray(other.scale) / (full.size / full.subsample_size)):
            return f"{shown}lacks {factor}; give it the full size and the subsample size"
        return (
            f"{shown}scales by {_shown(site)}; the other program, with {factor}, by {_shown(other)}"
        )
    return None


def _shown(site: Site) -> str:
    return "weights" if isinstance(site.scale, np.ndarray) else f"{site.scale:.6g}"


def other_items(context: Context) -> str | None:
    """A subsampled plate takes other items, because the program gives it the indices itself."""
    if context.first is None or context.second is None or context.finding.stage != "value":
        return None
    for p in context.second.plates:
        if p.subsample_size != p.size and context.second.kind == "observed":
            return (
                f"Perhaps plate {p.name} takes other items: with subsample_size it has the same indices in "
                "both programs, with subsample= its own; take the plate's, or pass the indices to both"
            )
    return None


def weights(context: Context) -> str | None:
    """Weights of observations are normalised in one program, or in another order."""
    found = _scales(context)
    if found is None or found[0].size < 2:
        return None
    for which, raw, other in (("second", *found), ("first", *found[::-1])):
        if alike(other, np.ones_like(raw)):
            return f"The {which} program does not weigh these log densities"
        for name, total in (("sum", raw.sum()), ("mean", raw.mean()), ("maximum", raw.max())):
            if alike(other, raw / total):
                return (
                    f"The {which} program's scales are the other's divided by their {name}: weights are "
                    "normalised in one program alone"
                )
    if alike(*(np.sort(x) for x in found)):
        return "The scales are the same numbers in another order"
    if alike(found[0], 1 / found[1]):
        return "The scales are each other's reciprocals: a variance is given for a weight"
    return None


def _scales(context: Context) -> tuple[Array, Array] | None:
    """Factors of both programs where an element counts, of the first particle, for a finding about them."""
    if context.first is None or context.second is None or "scaled" not in context.finding.message:
        return None
    found = scales(context.first, context.second)
    if found is None:
        return None
    a, b = (x[0] if x.ndim else x for x in found)
    counted = np.isfinite(a)
    return a[counted], b[counted]
