"""Checks of what a training run is given: data and pairs before it starts, and then its chunks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import blocks
from twinplate.data.statistics import Places
from twinplate.data.stored import Matrix, Stored
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.likelihood import check_values
from twinplate.programs.shapes import check_items
from twinplate.training.plan import Chunk
from twinplate.words import are, counted


def check_data(
    x: Matrix, program: ProgramConfig, training: TrainingConfig, rows: slice = slice(None)
) -> bool:
    """Whether no entry of these rows of `x` (N, D) is missing. What is on disk is read once, in blocks.

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
    for start, block in blocks(x, rows=rows):
        missing = missing or bool(np.isnan(block).any())
        infinite.add(np.abs(block) > largest, start)
        check_values(program.likelihood, block, start)
    if infinite.count:
        row, column = infinite.first
        raise InputError(
            f"x holds {counted(infinite.count, 'entry', 'entries')} that {are(infinite.count)} infinite in "
            f"{training.precision}, the first in "
            f"row {row + 1}, column {column + 1}; expected finite numbers, or NaN where they are missing"
        )
    return not missing


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
