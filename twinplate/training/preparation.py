"""A run that is ready to start: what both twins' trainers and restarts need to know of it, found out once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from twinplate.data.blocks import on_disk
from twinplate.data.frames import aligned, items_of
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.programs.offsets import with_offsets
from twinplate.programs.parameters import initial_params
from twinplate.programs.program import ReferenceProgram
from twinplate.training.checks import (
    check_brought,
    check_data,
    check_objective,
    check_pairs,
    check_units,
)
from twinplate.training.errors import check_state
from twinplate.training.memory import item_axes, items_at_once
from twinplate.training.plan import Chunk, chunk_length, chunks
from twinplate.training.shares import Workers, check_alike, digest
from twinplate.training.state import Array, TrainingState
from twinplate.training.streaming import ALL, Places, with_batches, with_batches_of_all
from twinplate.words import counted


@dataclass(frozen=True, eq=False)
class Preparation:
    """Checked arguments of one run, the state that it starts from and the chunks it is cut into.

    x (N, D), a (K, N) or None.  complete: no entry of `x` is missing.
    matched: the chunks bring the base noise along, the same in both twins.
    held: runs whose chunks are held in memory at the same time; many make for shorter ones.
    offsets: (N,) of the items, where the program has offsets.
    share: the part of each mini-batch that this process takes, a slice of its B items.
    """

    x: Matrix
    a: np.ndarray | None
    program: ReferenceProgram
    training: TrainingConfig
    state: TrainingState
    complete: bool
    matched: bool
    share: slice
    held: int = 1
    offsets: Array | None = None

    @property
    def rows(self) -> np.ndarray:
        """What models and guides take of all items, (N, D) or (N, D + 1) with offsets."""
        return with_offsets(self.x, self.offsets)

    @property
    def shared(self) -> int:
        """Items of the part of a mini-batch that this process takes."""
        return len(range(*self.share.indices(self.training.batch_size)))

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

    def noise(self, chunk: Chunk) -> dict[str, Array]:
        """The base noise that `chunk` brings for the part of each mini-batch, (steps, P, ...) by site."""
        axes = self.item_axes if chunk.noise else {}
        return {
            name: values[(slice(None),) * (1 + axes[name]) + (self.share,)]
            for name, values in chunk.noise.items()
        }

    def items_at_once(self, memory: int) -> int:
        """Items of the part of a mini-batch to take at once on a device with `memory` bytes."""
        return items_at_once(
            self.program.config, replace(self.training, batch_size=self.shared), memory
        )

    def check(self, chunk: Chunk) -> None:
        """Raise InputError for a chunk of another plan, which the device has no room for."""
        check_brought(chunk, self.streamed, self.length)

    def plan(self, places: Places | None = None) -> Iterator[Chunk]:
        """The chunks of all steps that are left, with their mini-batches where `x` is on disk.

        places: of each mini-batch whose items are read; by default those of `share`.
        Raises InputError where no steps are left.
        """
        first, steps = self.state.step, self.training.steps
        if first >= steps:
            raise InputError(
                f"the state is of step {first} and steps is {steps}; expected more steps"
            )
        where = self.share if places is None else places
        return with_batches(self.chunks(), self.x, self.a, where, self.offsets)

    def chunks(self) -> Iterator[Chunk]:
        """Those of `plan`, without any mini-batches."""
        first, config = self.state.step, self.program.config
        return chunks(config, self.training, len(self.x), self.matched, first, self.held)


def prepare(
    x: Matrix,
    program: ReferenceProgram,
    training: TrainingConfig,
    *,
    a: np.ndarray | None = None,
    state: TrainingState | None = None,
    matched: bool = False,
    workers: Workers | None = None,
    offsets: np.ndarray | None = None,
) -> Preparation:
    """The run that both twins' `fit` makes of these arguments; of a frame, columns are found by name.

    workers: that take each mini-batch together; by default this process takes all of it.
    offsets: (N,), of counts; by default what the program says.

    Raises InputError where `x`, `a`, `state` or `offsets` cannot be used; with workers in all of them.
    """
    x, offsets = items_of(x, program.features), aligned(offsets, x)
    if workers is None:
        complete = _complete(x, a, program, training)
    else:
        complete = _complete_for_all(workers, x, a, program, training, state, matched, offsets)
    found = program.offsets_of(x, offsets)
    training = training.for_items(len(x))
    if state is None:
        state = TrainingState.start(initial_params(program, training.seed))
    check_state(state, program)
    share = ALL
    if workers is not None:
        workers.check_batches(training.batch_size)
        share = workers.share(training.batch_size)
    return Preparation(x, a, program, training, state, complete, matched, share, offsets=found)


def prepare_many(
    x: Matrix,
    program: ReferenceProgram,
    trainings: Sequence[TrainingConfig],
    *,
    a: np.ndarray | None = None,
    states: Sequence[TrainingState] | None = None,
    matched: bool = False,
    offsets: np.ndarray | None = None,
) -> tuple[Preparation, ...]:
    """The runs of `trainings`, which differ in seed and learning rate alone, to be taken side by side.

    Raises InputError where `x`, `a`, `states` or `offsets` cannot be used.
    """
    x, offsets = items_of(x, program.features), aligned(offsets, x)
    complete = _complete(x, a, program, trainings[0])
    found = program.offsets_of(x, offsets)
    trainings = [training.for_items(len(x)) for training in trainings]
    # Only chunks with numbers of their own, noise or mini-batches, take room for every run.
    held = len(trainings) if matched or on_disk(x) else 1
    if states is None:
        states = [TrainingState.start(initial_params(program, one.seed)) for one in trainings]
    check_states(states, program, trainings)
    return tuple(
        Preparation(x, a, program, training, state, complete, matched, ALL, held, found)
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
    one = runs[0]
    return with_batches_of_all([run.chunks() for run in runs], one.x, one.a, one.offsets)


def _complete(
    x: Matrix,
    a: np.ndarray | None,
    program: ReferenceProgram,
    training: TrainingConfig,
    rows: slice = ALL,
) -> bool:
    """Whether no entry of these rows of `x` is missing, once they and `a` are checked."""
    check_objective(program.config, training)
    check_units(program, training.precision)
    noise = program.start.noise_scale if program.config.likelihood == "normal" else None
    complete = check_data(x, program.config, training, rows, noise)
    check_pairs(a, training.objective, program.config.num_components, len(x))
    return complete


def _complete_for_all(
    workers: Workers,
    x: Matrix,
    a: np.ndarray | None,
    program: ReferenceProgram,
    training: TrainingConfig,
    state: TrainingState | None,
    matched: bool,
    offsets: np.ndarray | None,
) -> bool:
    """The same, each worker looking at its part of the rows. What is wrong with one part, all raise."""
    complete, wrong = True, ""
    try:
        complete = _complete(x, a, program, training, workers.share(len(x)))
    except InputError as error:
        wrong = str(error)
    given = {
        "x": np.shape(x),
        "a": () if a is None else np.shape(a),
        "program": program,
        "training": training,
        "state": state,
        "offsets": offsets,
    }
    digests = {name: digest(value) for name, value in {**given, "matched": matched}.items()}
    found = workers.gather((complete, wrong, digests))
    check_alike([theirs for *_, theirs in found])
    for _, theirs, _ in found:
        if theirs:
            raise InputError(theirs)
    return all(part for part, *_ in found)
