"""The loop over the chunks of a training run, by the trainer of either twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from twinplate.programs.program import ReferenceProgram
from twinplate.training.errors import TrainingError, TrainingInterrupted
from twinplate.training.plan import Chunk
from twinplate.training.state import Array, Fit, Progress, TrainingState

# Called after every chunk of steps with a function that gives what was reached; it copies the state.
Keep = Callable[[Callable[[], Fit]], None]


class Trainer(Protocol):
    """What both twins' `Trainer` offer."""

    @property
    def state(self) -> TrainingState:
        """Everything that the next step depends on."""
        ...

    @property
    def program(self) -> ReferenceProgram:
        """What is trained."""
        ...

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on compiling so far."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done where training would have gone astray."""
        ...

    def run(self, chunk: Chunk) -> Array:
        """Take the steps of `chunk`; their losses per item (steps,)."""
        ...


def train(
    trainer: Trainer,
    plan: Iterable[Chunk],
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> Fit:
    """Run all chunks of `plan`, one after the other.

    progress: called after each chunk, with the number of the steps done and the chunk's losses per item.
    keep: called after it.

    Raises the trainer's TrainingError. The trainer knows the losses of one chunk; those of the chunks
    before are put into the `fit` of the error. A KeyboardInterrupt becomes a TrainingInterrupted.
    """
    losses = [np.zeros(0)]
    try:
        _run_all(trainer, plan, progress, keep, losses)
    except KeyboardInterrupt as interrupt:
        raise TrainingInterrupted(_reached(trainer, losses)) from interrupt
    return _reached(trainer, losses)


def _reached(trainer: Trainer, losses: list[Array]) -> Fit:
    course = np.concatenate(losses)
    return Fit(trainer.state, course, trainer.compile_seconds, trainer.program, trainer.notes)


def _run_all(
    trainer: Trainer,
    plan: Iterable[Chunk],
    progress: Progress | None,
    keep: Keep | None,
    losses: list[Array],
) -> None:
    """Run all chunks, and add the losses of each to `losses`."""
    for chunk in plan:
        try:
            losses.append(trainer.run(chunk))
        except TrainingError as error:
            reached = error.fit
            before = np.concatenate([*losses, reached.losses])
            error.fit = replace(
                reached, losses=before, program=trainer.program, notes=trainer.notes
            )
            raise
        if progress:
            progress(chunk.first + len(chunk.rates), losses[-1])
        if keep:
            keep(partial(_reached, trainer, losses))
