"""Checks of what a training run is given: data and pairs before it starts, and then its chunks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import Array, blocks
from twinplate.data.columns import default_name, listed
from twinplate.data.statistics import Places
from twinplate.data.stored import Matrix, Stored
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.likelihood import check_values
from twinplate.programs.program import ReferenceProgram
from twinplate.programs.shapes import check_items
from twinplate.training.plan import Chunk
from twinplate.words import are, counted

ROUNDED = 0.03  # of the noise; intercepts are rounded too: about 0.001 nats an entry
MARGIN = 1e3  # between a feature and what can be squared: noise may be so much smaller


class RoundingWarning(UserWarning):
    """Features, at these places from 0, of which a precision keeps too little to be told from noise."""

    def __init__(self, places: Sequence[int], precision: str) -> None:
        super().__init__(places, precision)
        self.places, self.precision = places, precision

    def told(self, names: Sequence[str]) -> str:
        """The warning in words. names: of all features; () where they have none."""
        found = [names[j] if names else default_name(j) for j in self.places]
        return (
            f"{self.precision} rounds {listed(found, most=5)} by more than 3 % of the noise, so that the "
            "fit is of other data: subtract a constant, such as the mean, or take precision float64"
        )

    def __str__(self) -> str:
        return self.told(())


def check_units(program: ReferenceProgram, precision: str) -> None:
    """Raise InputError for features so large or so small that their squares are none in this precision.

    Their losses would be finite at best, and the fit one of the other features.
    """
    if program.config.likelihood != "normal":
        return
    info = np.finfo(precision)
    low, high = MARGIN * float(info.tiny) ** 0.5, float(info.max) ** 0.5 / MARGIN
    held = (program.spread >= low) & (program.spread <= high) & (np.abs(program.center) <= high)
    if held.all():
        return
    wrong = int(np.argmin(held))
    name = program.features[wrong] if program.features else default_name(wrong)
    raise InputError(
        f"{name} of x is {program.center[wrong]:.3g} ± {program.spread[wrong]:.3g}, whose squares "
        f"{precision} does not hold; expected standard deviations of {low:.0e} to {high:.0e}, and means up "
        "to that: give it another unit, or take precision float64"
    )


def check_data(
    x: Matrix,
    program: ProgramConfig,
    training: TrainingConfig,
    rows: slice = slice(None),
    noise_scale: Array | None = None,
) -> bool:
    """Whether no entry of these rows of `x` (N, D) is missing. What is on disk is read once, in blocks.

    noise_scale: (D,), of a normal likelihood. Warns, with a RoundingWarning, of features most of whose
    entries the precision of `training` rounds by more than ROUNDED of it.

    Raises InputError unless `x` is an array of numbers, NaN where missing and otherwise finite in the
    precision of `training` and possible under the likelihood, with one item or more.
    """
    if not isinstance(x, (np.ndarray, Stored)):
        raise InputError(f"x is a {type(x).__name__}; expected a NumPy array: pass np.asarray(x)")
    if not check_items(x.shape, program.num_features):
        raise InputError(f"x has shape {x.shape}; expected one item or more")
    if x.dtype.kind not in "biuf":
        raise InputError(f"x holds {x.dtype} values; expected real numbers")
    missing, infinite, largest = False, Places(), np.finfo(training.precision).max
    rounded, observed = np.zeros(program.num_features), np.zeros(program.num_features)
    for start, block in blocks(x, rows=rows):
        missing = missing or bool(np.isnan(block).any())
        infinite.add(np.abs(block) > largest, start)
        if noise_scale is not None:
            lost = np.abs(_rounding(block, training.precision))
            rounded += (lost > ROUNDED * noise_scale).sum(axis=0)
            observed += (~np.isnan(block)).sum(axis=0)
        check_values(program.likelihood, block, start)
    if infinite.count:
        row, column = infinite.first
        raise InputError(
            f"x holds {counted(infinite.count, 'entry', 'entries')} that {are(infinite.count)} infinite in "
            f"{training.precision}, the first in "
            f"row {row + 1}, column {column + 1}; expected finite numbers, or NaN where they are missing"
        )
    if noise_scale is not None:
        places = np.flatnonzero(rounded > observed / 2)  # a few far items say nothing of a feature
        if len(places):
            warnings.warn(RoundingWarning(places.tolist(), training.precision), stacklevel=2)
    return not missing


def _rounding(block: Array, precision: str) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):  # what is infinite then is refused
        return block - block.astype(precision)


def check_objective(program: ProgramConfig, training: TrainingConfig) -> None:
    """Raise InputError where pairs would have to be drawn of a likelihood whose draws have no base noise."""
    if training.objective == "simulated" and program.likelihood != "normal":
        raise InputError(
            f"objective 'simulated' with likelihood {program.likelihood!r}: it draws normal data only; "
            "expected objective 'elbo'"
        )


def check_pairs(
    a: npt.ArrayLike | None, objective: str, num_components: int, num_items: int
) -> None:
    """Raise InputError unless `a` is (K, N) for the objective "pairs" and absent for the others."""
    if objective != "pairs":
        if a is not None:
            raise InputError(f"a is given with objective {objective!r}; expected objective 'pairs'")
        return
    expected = (num_components, num_items)
    if a is None or np.shape(a) != expected:
        given = "nothing" if a is None else f"shape {np.shape(a)}"
        raise InputError(
            f"objective 'pairs' got {given} for a; expected (num_components, num_items) = {expected}"
        )


def check_brought(chunk: Chunk, streamed: bool, length: int) -> None:
    """Raise InputError unless `chunk` suits a trainer of data that stay on disk, as `streamed` says.

    It must bring its mini-batches along, and have `length` steps at most: the device has no room for more.
    Chunks of any length suit a trainer that has all data on the device.
    """
    if streamed and chunk.x is None:
        raise InputError(
            "x is on disk and the chunk brings no mini-batches; expected the trainer's `plan()`, "
            "or twinplate.training.streaming.with_batches(plan, x, a)"
        )
    if streamed and len(chunk.rates) > length:
        raise InputError(
            f"the chunk has {counted(len(chunk.rates), 'step')}; expected {length} at most: take those "
            "of the trainer's `plan()`, or give `chunks` the program, the training and the `matched` of "
            "the trainer"
        )
