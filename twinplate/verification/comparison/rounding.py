"""Is this number the same in both programs? A rule without a tolerance to choose.

Rounding shrinks when the precision doubles; a mistake does not. A difference between two programs in
double precision is measured against the noise of that very number, which two kinds of runs show: what
single precision makes of it, and how it responds to inputs changed in the thirteenth digit. See
docs/verdict.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FLOAT32_EPS = 2.0**-23
ROUNDING_FLOOR = 64 * FLOAT32_EPS  # of the number itself: no noise is taken to be less
SILENT = 2.0**-10  # single-precision noise above this share of max(1, |number|) says nothing
ROUNDING_SHARE = 2.0**-14  # a difference below this share of the noise is rounding
PERTURBATION = 2.0**-40  # relative change of the inputs
PERTURBATION_GAIN = 2.0**14  # the response times this is noise: below the response all is rounding
ILL_CONDITIONED = 2.0**-10  # a response above this share of max(1, |number|): nothing to judge
SCATTER = 8.0  # times the scatter of the difference itself: below it the difference is rounding
ALIKE = 16.0  # responses within this factor of each other are one conditioning, measured twice
CAST = 2.0**-50  # a number that responds less than this to its inputs was rounded on the way

CODES = ("same", "undecided", "differs")


@dataclass(frozen=True)
class Judgement:
    """What was found of each number; all three arrays have the numbers' shape.

    codes: 0 the same, 1 undecided, 2 differs.  ratio: the difference over its noise.
    cast: where neither program could be raised to double precision.
    """

    codes: npt.NDArray[np.int64]
    ratio: Array
    cast: npt.NDArray[np.bool_]

    @property
    def verdict(self) -> str:
        """The worst of all numbers: "same", "undecided" or "differs"."""
        return CODES[int(self.codes.max(initial=0))]


def judge(
    a64: npt.ArrayLike,
    b64: npt.ArrayLike,
    a32: npt.ArrayLike,
    b32: npt.ArrayLike,
    a_perturbed: Sequence[npt.ArrayLike] = (),
    b_perturbed: Sequence[npt.ArrayLike] = (),
) -> Judgement:
    """Judge arrays of equal shape, element by element.

    a64, b64: the two programs in double precision.  a32, b32: in single precision.
    a_perturbed, b_perturbed: in double precision with inputs changed by a relative 2⁻⁴⁰, once for each
        array, the same changes in both. Without the first program's, numbers that need them are undecided.

    Raises ValueError for shapes that differ.
    """
    given = (a64, b64, a32, b32, *a_perturbed, *b_perturbed)
    arrays = [np.asarray(values, dtype=np.float64) for values in given]
    if len({values.shape for values in arrays}) > 1:
        raise ValueError(f"shapes differ: {[v.shape for v in arrays]}; expected equal shapes")
    a, b, a_single, b_single = arrays[:4]
    a_moved, b_moved = arrays[4 : 4 + len(a_perturbed)], arrays[4 + len(a_perturbed) :]
    with np.errstate(invalid="ignore", over="ignore"):
        responses = _response(a, a_moved, np.inf), _response(b, b_moved, 0.0)
        scatter = _scatter(a - b, [c - d for c, d in zip(a_moved, b_moved, strict=False)])
        return _judge(a, b, _single_noise(a, b, a_single, b_single), *responses, scatter)


def _single_noise(a: Array, b: Array, a_single: Array, b_single: Array) -> Array:
    """How much single precision changes each number, zero where it says nothing."""
    parts = [np.abs(a_single - a), np.abs(b_single - b), np.abs(a_single - b_single)]
    noise = np.max(parts, axis=0)
    loud = noise <= SILENT * _at_least_one(a, b)  # false for NaN too
    return np.where(loud, noise, 0.0)


def _response(values: Array, perturbed: Sequence[Array], unknown: float) -> Array:
    """Largest change under perturbed inputs, `unknown` without any; infinite if all became so."""
    if not perturbed:
        return np.full(values.shape, unknown)
    changes = np.abs(np.stack(perturbed) - values)
    # At the edge of a support a change of the input may leave it; the other changes still tell.
    lost = ~np.isfinite(changes)
    largest = np.where(lost, 0.0, changes).max(axis=0)
    return np.where(lost.all(axis=0), np.inf, largest)


def _scatter(difference: Array, moved: Sequence[Array]) -> Array:
    """Largest change of the difference between the programs: a mistake hardly changes, rounding does."""
    if not moved:
        return np.zeros(difference.shape)
    changes = np.abs(np.stack(moved) - difference)
    return np.asarray(np.where(np.isfinite(changes), changes, 0.0).max(axis=0))


def _judge(
    a: Array, b: Array, single: Array, a_response: Array, b_response: Array, scatter: Array
) -> Judgement:
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    difference = np.where(equal, 0.0, np.abs(a - b))
    size, limit = np.maximum(np.abs(a), np.abs(b)), ILL_CONDITIONED * _at_least_one(a, b)
    # Each response is the largest of three samples: at the limit, the two may fall on either side of it.
    astride = (limit < b_response) & (b_response <= ALIKE * a_response)
    ill = ~(a_response <= limit) | (astride & (difference <= SCATTER * scatter))
    # A response of the second program alone may be its mistake: it counts where it is small.
    response = np.maximum(
        np.where(ill, 0.0, a_response), np.where(b_response <= limit, b_response, 0.0)
    )
    noise = np.maximum(single, ROUNDING_FLOOR * size)
    wide = np.maximum(noise, PERTURBATION_GAIN * response)
    # Inputs that move together may leave the difference between two roundings larger than any response.
    settled = ~ill & (b_response <= limit)
    wide = np.maximum(wide, np.where(settled, SCATTER / ROUNDING_SHARE * scatter, 0.0))
    judged = np.where(ill, single, wide)
    same = equal | (difference <= ROUNDING_SHARE * judged)
    unmoved = (a_response <= CAST * size) & (b_response <= CAST * size)
    cast = finite & ~same & unmoved & (difference <= noise)
    codes = np.where(same, 0, np.where(ill | cast, 1, 2))
    codes = np.where(finite | equal, codes, 2)
    ratio = difference / np.maximum(judged, np.finfo(float).tiny)
    return Judgement(codes, np.where(equal, 0.0, ratio), cast)


def _at_least_one(a: Array, b: Array) -> Array:
    return np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
