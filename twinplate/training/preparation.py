"""A run that is ready to start: what both twins' trainers and restarts need to know of it, found out once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import on_disk
from twinplate.data.frames import items_of
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.programs.parameters import initial_params
from twinplate.programs.program import ReferenceProgram
from twinplate.training.checks import check_brought, check_data, check_pairs
from twinplate.training.errors import check_state
from twinplate.training.memory import item_axes, items_at_once
from twinplate.training.plan import Chunk, chunk_length, chunks
from twinplate.training.state import TrainingState
from twinplate.training.streaming import with_batches, with_batches_of_all
from twinplate.words import counted


@dataclass(frozen=True, eq=False)
class Preparation:
    """Checked arguments of one run, the state that it starts from and the chunks it is cut into.

    x (N, D), a (K, N) or None.  complete: no entry of `x` is missing.
    matched: the chunks bring the base noise along, the same in both twins.
    held: runs whose chunks are held in memory at the same time; many make for shorter ones.
    """

    x: np.ndarray
    a: np.ndarray | None
    program: ReferenceProgram
    training: TrainingConfig
    state: TrainingState
    complete: bool
    matched: bool
    held: int = 1

    @property
    def streamed(self) -> bool:
        """Whether the data stay on disk, so that every chunk brings its mini-batches along."""
        return on_disk(self.x)

    @property
    def length(self) -> int:
        """The most steps that a chunk of this run has."""
        return chunk_length(self.program.config, self.training, self.matched, self.held)

    @property
    def item_axes(self) -> dict[str, int]:
        """`twinplate.training.memory.item_axes` of this run."""
        return item_axes(self.program.config, self.training)

    def items_at_once(self, memory: int) -> int:
        """Items of a mini-batch to take at once on a device with `memory` bytes."""
        return items_at_once(self.program.config, self.training, memory)

    def check(self, chunk: Chunk) -> None:
        """Raise InputError for a chunk of another plan, which the device has no room for."""
        check_brought(chunk, self.streamed, self.length)

    def plan(self, places: npt.NDArray[np.int64] | None = None) -> Iterator[Chunk]:
        """The chunks of all steps that are left, with their mini-batches where `x` is on disk.

        places: of each mini-batch whose items are read; by default all.
        Raises InputError where no steps are left.
        """
        first, steps = self.state.step, self.training.steps
        if first >= steps:
            raise InputError(
                f"the state is of step {first} and steps is {steps}; expected more steps"
            )
        return with_batches(self.chunks(), self.x, self.a, places)

    def chunks(self) -> Iterator[Chunk]:
        """Those of `plan`, without any mini-batches."""
        first, config = self.state.step, self.program.config
        return chunks(config, self.training, len(self.x), self.matched, first, self.held)


def prepare(
    x: np.ndarray,
    program: ReferenceProgram,
    training: TrainingConfig,
    *,
    a: np.ndarray | None = None,
    state: TrainingState | None = None,
    matched: bool = False,
) -> Preparation:
    """The run that both twins' `fit` makes of these arguments; of a frame, columns are found by name.

    Raises InputError where `x`, `a` or `state` cannot be used.
    """
    x = items_of(x, program.features)
    complete = _complete(x, a, program, training)
    training = training.for_items(len(x))
    if state is None:
        state = TrainingState.start(initial_params(program, training.seed))
    check_state(state, program)
    return Preparation(x, a, program, training, state, complete, matched)


def prepare_many(
    x: np.ndarray,
    program: ReferenceProgram,
    trainings: Sequence[TrainingConfig],
    *,
    a: np.ndarray | None = None,
    states: Sequence[TrainingState] | None = None,
    matched: bool = False,
) -> tuple[Preparation, ...]:
    """The runs of `trainings`, which differ in seed and learning rate alone, to be taken side by side.

    Raises InputError where `x`, `a` or `states` cannot be used.
    """
    x = items_of(x, program.features)
    complete = _complete(x, a, program, trainings[0])
    trainings = [training.for_items(len(x)) for training in trainings]
    # Only chunks with numbers of their own, noise or mini-batches, take room for every run.
    held = len(trainings) if matched or on_disk(x) else 1
    if states is None:
        states = [TrainingState.start(initial_params(program, one.seed)) for one in trainings]
    check_states(states, program, trainings)
    return tuple(
        Preparation(x, a, program, training, state, complete, matched, held)
        for training, state in zip(trainings, states, strict=True)
    )


def check_states(
    states: Sequence[TrainingState], program: ReferenceProgram, trainings: Sequence[TrainingConfig]
) -> None:
    """Raise InputError unless there is one for each training, all at one step with others to come."""
    if len(states) != len(trainings):
        raise InputError(
            f"{counted(len(states), 'state')} and {counted(len(trainings), 'fit')} are given; expected "
            "one state for each fit, in the order of the fits"
        )
    found = sorted({state.step for state in states})
    if len(found) > 1:
        raise InputError(
            f"the states are of steps {found[0]} to {found[-1]}; expected one step: go on with those of fits "
            "that did not diverge, or with each by `fit`"
        )
    if found[0] >= trainings[0].steps:
        raise InputError(
            f"the states are of step {found[0]} and steps is {trainings[0].steps}; expected more steps"
        )
    for state in states:
        check_state(state, program)


def plan_many(runs: Sequence[Preparation]) -> Iterator[tuple[Chunk, ...]]:
    """The first chunks of all `runs` of one `prepare_many`, then their second ones, and so on."""
    return with_batches_of_all([run.chunks() for run in runs], runs[0].x, runs[0].a)


def _complete(
    x: np.ndarray, a: np.ndarray | None, program: ReferenceProgram, training: TrainingConfig
) -> bool:
    """Whether no entry of `x` is missing, once `x` and `a` are checked."""
    complete = check_data(x, program.config, training)
    check_pairs(a, training.objective, program.config.num_components, len(x))
    return complete
