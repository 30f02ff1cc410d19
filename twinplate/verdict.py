"""Is this number the same in both programs? A rule without a tolerance to choose.

Rounding shrinks when the precision doubles; a mistake does not. A difference between two programs in
double precision is measured against the single-precision noise of that very number, and, where single
precision says nothing, against the effect of a tiny change of the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FLOAT32_EPS = 2.0**-23
NOISE_FLOOR = 64 * FLOAT32_EPS  # of max(1, |value|)
NOISE_CEILING = 2.0**-10  # above it single precision says nothing
SAME = 2.0**-14  # a difference below this share of the noise is rounding
PERTURBATION = 2.0**-40  # relative change of the inputs for the second opinion
PERTURBATION_GAIN = 2.0**17
ILL_CONDITIONED = 0.01


@dataclass(frozen=True)
class Judgement:
    """For each number: 0 same, 1 undecided, 2 differs; and the difference over its noise."""

    codes: npt.NDArray[np.int64]
    ratio: npt.NDArray[np.float64]

    @property
    def verdict(self) -> str:
        """The worst of all numbers: "same", "undecided" or "differs"."""
        return ("same", "undecided", "differs")[int(self.codes.max(initial=0))]


def judge(
    a64: npt.ArrayLike,
    b64: npt.ArrayLike,
    a32: npt.ArrayLike,
    b32: npt.ArrayLike,
    perturbed: npt.ArrayLike | None = None,
) -> Judgement:
    """Judge arrays of equal shape, element by element.

    a64, b64: the two programs in double precision.  a32, b32: in single precision.
    perturbed: the first program in double precision with its inputs changed by a relative 2⁻⁴⁰;
        without it, numbers that need the second opinion are undecided.

    Raises ValueError for shapes that differ.
    """
    arrays = [np.asarray(v, dtype=np.float64) for v in (a64, b64, a32, b32)]
    second = None if perturbed is None else np.asarray(perturbed, dtype=np.float64)
    if len({v.shape for v in arrays}) > 1:
        raise ValueError(f"shapes differ: {[v.shape for v in arrays]}; expected four equal shapes")
    with np.errstate(invalid="ignore", over="ignore"):
        return _judge(arrays[0], arrays[1], arrays[2], arrays[3], second)


def _judge(
    a64: npt.NDArray[np.float64],
    b64: npt.NDArray[np.float64],
    a32: npt.NDArray[np.float64],
    b32: npt.NDArray[np.float64],
    perturbed: npt.NDArray[np.float64] | None,
) -> Judgement:
    equal = (a64 == b64) | (np.isnan(a64) & np.isnan(b64))
    finite = np.isfinite(a64) & np.isfinite(b64)
    difference = np.where(equal, 0.0, np.abs(a64 - b64))
    size = np.maximum(1.0, np.maximum(np.abs(a64), np.abs(b64)))
    noise = np.max([np.abs(a32 - a64), np.abs(b32 - b64), np.abs(a32 - b32)], axis=0)
    noise = np.maximum(noise, NOISE_FLOOR * size)
    silent = ~(np.isfinite(a32) & np.isfinite(b32) & (noise <= NOISE_CEILING * size))
    noise = np.where(silent, NOISE_FLOOR * size, noise)
    same = equal | (~silent & (difference <= SAME * noise))
    response = np.abs((np.inf if perturbed is None else perturbed) - a64)
    wide = np.maximum(np.where(silent, 0.0, noise), PERTURBATION_GAIN * response)
    undecided = ~(response <= ILL_CONDITIONED * size)
    same_after = same | (~undecided & (difference <= SAME * wide))
    codes = np.where(same_after, 0, np.where(undecided, 1, 2))
    codes = np.where(finite | equal, codes, 2)
    ratio = difference / np.maximum(np.where(same, noise, wide), np.finfo(float).tiny)
    return Judgement(codes, ratio)
