"""Several fits of one program in one compiled loop: from other seeds, with other learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_impl.device import DTYPES, using
from numpyro_impl.programs.noise import key_of
from numpyro_impl.programs.posteriors import posterior
from numpyro_impl.training.carry import Carry, to_carry, to_state
from numpyro_impl.training.loop import CompiledLoop, Results, to_attempt, to_inputs
from numpyro_impl.training.placement import OneDevice
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import ReferenceProgram
from twinplate.training.errors import TrainingInterrupted, is_out_of_memory, room_for
from twinplate.training.net import Attempt, Net
from twinplate.training.plan import Chunk
from twinplate.training.preparation import plan_many, prepare_many
from twinplate.training.restarts import Restarts, make_restarts, restart_configs
from twinplate.training.state import Array, Fit, Limits, Progress, TrainingState
from twinplate.words import counted


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
    x: as for `fit`; of a memory map, the mini-batches of all fits are in memory at the same time.
    offsets: as for `fit`.
    states: to go on from, one for each fit, all of one step: those of the `fits` of an earlier call with the
        same seeds and rates. By default every fit starts.
    progress: called with the number of steps of all fits that are done so far.

    Raises InputError for arguments that do not fit, and TrainingInterrupted by Ctrl-C, whose `fit` is the
    Restarts of the steps that all fits have taken: their states can be given as `states`.

    >>> import numpy as np
    >>> from numpyro_impl import fit_many
    >>> from twinplate import ProgramConfig, TrainingConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> training = TrainingConfig(steps=2, batch_size=10, device="cpu")
    >>> fit_many(x, program, training, seeds=(0, 1), learning_rates=(0.01, 0.1)).losses.shape
    (4, 2)
    """
    trainings = restart_configs(training, seeds, learning_rates)
    runs = prepare_many(x, program, trainings, a=a, states=states, matched=matched, offsets=offsets)
    x = runs[0].x
    first = runs[0].state.step
    dtype = DTYPES[training.precision]
    place = OneDevice(runs[0])
    loop = CompiledLoop(runs[0], place, fits=len(runs))
    with using(place.device, training.precision), _enough_memory(trainings):
        with room_for(x):
            whole = None if runs[0].streamed else place.of_all(runs[0].rows, a, dtype)
        carry = _stacked([to_carry(run.state, dtype) for run in runs])
        keys = [key_of(run.training.seed) for run in runs]
        nets = [Net(run.state.limits) for run in runs]

        def advance(carry: Carry, parts: Sequence[Chunk], data: Any) -> tuple[Carry, list[Attempt]]:
            """All fits, by the steps of `parts`; what came of each."""
            keyed = zip(parts, keys, strict=True)
            inputs = _stacked([to_inputs(part, key, dtype, runs[0].length) for part, key in keyed])
            carry, results = loop(parts[0], jax.tree.map(jnp.copy, carry), inputs, *data)
            rows = [Results(*(values[r] for values in results)) for r in range(len(runs))]
            return carry, [to_attempt(row, run) for row, run in zip(rows, runs, strict=True)]

        def restarts(reached: _Reached) -> Restarts:
            carry, losses, limits, alive = reached
            each = [jax.tree.map(itemgetter(r), carry) for r in range(len(runs))]
            states = map(to_state, each, limits)
            fits = [
                Fit(state, row[: state.step - first], program=program, notes=tuple(net.notes))
                for state, row, net in zip(states, np.hstack(losses), nets, strict=True)
            ]
            steps, seconds = sum(part.shape[1] for part in losses), loop.compile_seconds
            return make_restarts(
                x, program, trainings, fits, posterior, seconds, steps=steps, broken=~alive
            )

        limits = [net.limits for net in nets]
        reached = _Reached(carry, [np.zeros((len(runs), 0))], limits, np.ones(len(runs), bool))
        try:
            for parts in plan_many(runs):
                data = whole or _stacked([place.of_chunk(part, dtype) for part in parts])
                reached = _take_all(reached, parts, nets, partial(advance, data=data))
                if progress:
                    done = sum(part.size for part in reached.losses)
                    progress(done, reached.losses[-1].mean(axis=0))
        except KeyboardInterrupt as interrupt:
            made = restarts(reached)
            raise TrainingInterrupted(made, first + made.losses.shape[1]) from interrupt
        return restarts(reached)


class _Reached(NamedTuple):
    """By all fits together, after a chunk.

    carry: with a leading dim of R.  losses: (R, steps) of every chunk.  limits: of every fit's net.
    alive: (R,), which of them did not break.
    """

    carry: Carry
    losses: list[Array]
    limits: list[Limits]
    alive: np.ndarray


def _take_all(
    reached: _Reached,
    parts: Sequence[Chunk],
    nets: Sequence[Net],
    advance: Callable[[Carry, Sequence[Chunk]], tuple[Carry, list[Attempt]]],
) -> _Reached:
    """What is reached by a chunk of every fit.

    Where some fits go wrong, all are taken again, and what comes of the others the second time is not
    looked at. A fit that breaks for good stays as it is before the chunk, and is no longer `alive`.
    """
    losses = np.full((len(nets), len(parts[0].rates)), np.nan)
    kept, alive = reached.carry, reached.alive.copy()
    waiting = alive.copy()
    while True:
        slowed = [net.slowed(part) for net, part in zip(nets, parts, strict=True)]
        after, found = advance(reached.carry, slowed)
        counts = np.zeros(len(nets), bool)
        for r in np.flatnonzero(waiting).tolist():
            if nets[r].accepts(parts[r], found[r]):
                losses[r], waiting[r] = found[r].losses, False
                counts[r] = alive[r] = found[r].finite
        kept = after if counts.all() else _chosen(counts, after, kept)
        if not waiting.any():
            limits = [net.limits for net in nets]
            return _Reached(kept, [*reached.losses, losses], limits, alive)


def _stacked(trees: Sequence[Any]) -> Any:
    """One tree with a leading dim of the fits, from one tree a fit.

    Arrays on the host stay there: the compiled loop takes them to the device in less time than JAX by itself.
    """

    def stacked(*leaves: Any) -> Any:
        return (np if isinstance(leaves[0], np.ndarray) else jnp).stack(leaves)

    return jax.tree.map(stacked, *trees)


@jax.jit
def _chosen(which: np.ndarray, these: Carry, those: Carry) -> Carry:
    """For every fit its carry in `these` where `which` (R,) is true, and else that in `those`."""
    return jax.vmap(lambda one, *both: jax.tree.map(partial(jnp.where, one), *both))(
        which, these, those
    )


@contextmanager
def _enough_memory(trainings: Sequence[TrainingConfig]) -> Iterator[None]:
    """A context that says, where the memory does not suffice, that all fits are in it at once."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not is_out_of_memory(error):
            raise
        batch_size = trainings[0].batch_size
        raise InputError(
            f"out of memory with {counted(len(trainings), 'fit')} at once of batch_size {batch_size}; "
            f"expected fewer fits, or batch_size {max(1, batch_size // 2)}"
        ) from error
