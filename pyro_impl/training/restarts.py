"""Several fits of one program, one after the other: from other seeds, with other learning rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyro_impl.programs.posteriors import posterior
from pyro_impl.training.trainer import Trainer
from twinplate.data.frames import items_of
from twinplate.data.stored import Matrix
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import ReferenceProgram
from twinplate.training.errors import NonFiniteLossError, TrainingInterrupted
from twinplate.training.loop import train
from twinplate.training.preparation import check_states
from twinplate.training.restarts import Restarts, make_restarts, restart_configs
from twinplate.training.state import Fit, Progress, TrainingState


def fit_many(
    x: Matrix,
    program: ReferenceProgram,
    training: TrainingConfig,
    *,
    seeds: Sequence[int],
    learning_rates: Sequence[float] | None = None,
    a: np.ndarray | None = None,
    offsets: np.ndarray | None = None,
    states: Sequence[TrainingState] | None = None,
    matched: bool = False,
    progress: Progress | None = None,
) -> Restarts:
    """Fit `program` from every seed, with every one of `learning_rates` if they are given.

    Each fit is the one that `fit` makes of that seed and rate. A fit that diverges raises no error, but is
    reported in `Restarts.diverged`.

    training: of all fits, but for the seed, and for the learning rate where `learning_rates` are given.
    x: as for `fit`; of a memory map, only the mini-batches of one fit are in memory at a time.
    offsets: as for `fit`.
    states: to go on from, one for each fit, all of one step: those of the `fits` of an earlier call with the
        same seeds and rates. By default every fit starts.
    progress: called with the number of steps of all fits that are done so far.

    Raises InputError for arguments that do not fit, and TrainingInterrupted by Ctrl-C. Its `fit` is the
    Restarts of the fits that are done and of the one that was interrupted, the last. `fit` goes on with that
    one; those after it had not begun.

    >>> import numpy as np
    >>> from pyro_impl import fit_many
    >>> from twinplate import ProgramConfig, TrainingConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> training = TrainingConfig(steps=2, batch_size=10, device="cpu")
    >>> fit_many(x, program, training, seeds=(0, 1), learning_rates=(0.01, 0.1)).losses.shape
    (4, 2)
    """
    trainings = restart_configs(training, seeds, learning_rates)
    x = items_of(x, program.features)
    if states is not None:
        check_states(states, program, trainings)
    first = states[0].step if states else 0
    left = training.steps - first
    fits: list[Fit] = []
    broken: list[bool] = []

    def restarts(steps: int) -> Restarts:
        seconds = sum(done.compile_seconds for done in fits)
        begun = trainings[: len(fits)]
        return make_restarts(
            x, program, begun, fits, posterior, seconds, steps=steps, broken=broken
        )

    for number, one in enumerate(trainings):
        before = number * left - first

        def told(step: int, losses: np.ndarray, before: int = before) -> None:
            if progress:
                progress(before + step, losses)

        trainer = Trainer(
            *(x, program, one),
            a=a,
            offsets=offsets,
            state=states[number] if states else None,
            matched=matched,
        )
        try:
            fits.append(train(trainer, trainer.plan(), told))
            broken.append(False)
        except NonFiniteLossError as error:
            fits.append(_before_its_chunk(error, trainer, first))
            broken.append(True)
        except TrainingInterrupted as interrupt:
            fits.append(interrupt.fit)
            broken.append(False)
            steps = max(len(fit.losses) for fit in fits)
            raise TrainingInterrupted(restarts(steps), interrupt.fit.state.step) from interrupt
    return restarts(left)


def _before_its_chunk(error: NonFiniteLossError, trainer: Trainer, first: int) -> Fit:
    """What a fit that broke had reached before the chunk that broke it, as in the other twin."""
    state = trainer.state
    losses = error.fit.losses[: state.step - first]
    return Fit(state, losses, trainer.compile_seconds, trainer.program, trainer.notes)
