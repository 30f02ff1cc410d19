"""Fit a program: mini-batches, Adam under a cosine schedule, losses per item.

The steps of a chunk are one compiled loop on the device. Between two chunks the losses come back from the
device. The state stays there. So does the state before a chunk, to fall back on if the chunk goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_impl.device import DTYPES, using
from numpyro_impl.processes import all_workers, what_ended
from numpyro_impl.programs.noise import key_of
from numpyro_impl.training.carry import Carry, to_carry, to_state
from numpyro_impl.training.loop import CompiledLoop, to_attempt, to_inputs
from numpyro_impl.training.placement import OneDevice, Spread
from twinplate.data.stored import Matrix
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import ReferenceProgram
from twinplate.training.errors import (
    is_out_of_memory,
    non_finite_loss,
    out_of_memory,
    process_lost,
    room_for,
)
from twinplate.training.loop import train
from twinplate.training.net import Attempt, Net, take
from twinplate.training.plan import Chunk
from twinplate.training.preparation import prepare
from twinplate.training.state import Fit, Progress, TrainingState
from twinplate.training.streaming import ALL


def fit(
    x: Matrix,
    program: ReferenceProgram,
    training: TrainingConfig,
    *,
    a: np.ndarray | None = None,
    offsets: np.ndarray | None = None,
    state: TrainingState | None = None,
    matched: bool = False,
    progress: Progress | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Fit:
    """Train `program` on `x` (N, D), NaN where missing, for `training.steps` steps in all.

    x: an array, which goes to the device as a whole, or a memory map (`np.load` with `mmap_mode="r"`), of
        which the mini-batches of the next chunk are read while the steps of one are taken. Or a frame, whose
        columns are found by the names in `program` (`twinplate.data.frames`).
    a: pairs (K, N) for the objective "pairs".
    offsets: (N,), positive, of the items of counts; by default what the program says
        (`twinplate.programs.offsets`).
    state: that of a run to go on with, such as `Fit.state`; by default a run starts from the initial
        parameters of `training.seed`.
    matched: take the base noise from `twinplate.seeds`, the same numbers in both twins, instead of
        JAX's keys. Initial parameters and mini-batches are the same in any case.
    progress: called after every chunk, with the number of the steps done and the chunk's losses per item.
    devices: that share the items of every mini-batch, such as `jax.devices()`, instead of the one that
        `training.device` names. The numbers are those of one device but for the order of sums. Under
        `jax.distributed` they are those of all processes, each of which calls `fit` with equal arguments.

    On one CPU with a fixed number of threads the result is the same to the bit for equal arguments.
    Raises InputError for arguments that do not fit, and the TrainingErrors of `Trainer.run`.

    >>> import numpy as np
    >>> from numpyro_impl import fit
    >>> from twinplate import ProgramConfig, TrainingConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> training = TrainingConfig(steps=2, batch_size=10, device="cpu")
    >>> fit(x, program, training).losses.shape
    (2,)
    """
    trainer = Trainer(
        *(x, program, training),
        a=a,
        offsets=offsets,
        state=state,
        matched=matched,
        devices=devices,
    )
    return train(trainer, trainer.plan(), progress)


@jax.jit
def _copy(carry: Carry) -> Carry:
    return jax.tree.map(jnp.copy, carry)


class Trainer:
    """A program in training, one chunk of steps after the other; `fit` takes all of them.

    Arguments as for `fit`.
    `plan` makes the chunks. Where `x` is on disk, those of another plan may be too long for the trainer.

    >>> import numpy as np
    >>> from numpyro_impl import Trainer
    >>> from twinplate import ProgramConfig, TrainingConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> training = TrainingConfig(steps=2, batch_size=10, device="cpu")
    >>> trainer = Trainer(x, program, training)
    >>> for chunk in trainer.plan():
    ...     losses = trainer.run(chunk)
    >>> trainer.state.step
    2
    """

    def __init__(
        self,
        x: Matrix,
        program: ReferenceProgram,
        training: TrainingConfig,
        *,
        a: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
        state: TrainingState | None = None,
        matched: bool = False,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        workers = None if devices is None else all_workers()
        prepared = prepare(
            *(x, program, training),
            a=a,
            offsets=offsets,
            state=state,
            matched=matched,
            workers=workers,
        )
        # The compiler splits a mini-batch: to the program it is whole.
        self._prepared = replace(prepared, share=ALL)
        training = self._prepared.training
        self.program, self.training = program, training
        place = OneDevice(self._prepared) if devices is None else Spread(self._prepared, devices)
        self._place, self._device = place, place.device
        self._loop = CompiledLoop(self._prepared, place)
        self._at_once, self._dtype = self._loop.items_at_once, DTYPES[training.precision]
        with using(self._device, training.precision):
            self._data = None
            if not self._prepared.streamed:
                with room_for(self._prepared.x):
                    self._data = place.of_all(self._prepared.rows, a, self._dtype)
            self._carry = place.of_state(to_carry(self._prepared.state, self._dtype))
            self._key = place.of_state(key_of(training.seed))
        self._net = Net(self._prepared.state.limits)

    @property
    def state(self) -> TrainingState:
        """Everything that the next step depends on, copied from the device."""
        with using(self._device, self.training.precision):
            return to_state(self._carry, self._net.limits)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done where training would have gone astray, in sentences."""
        return tuple(self._net.notes)

    @property
    def compile_seconds(self) -> float:
        """Seconds spent so far on tracing and compiling."""
        return self._loop.compile_seconds

    def plan(self) -> Iterator[Chunk]:
        """All chunks from the state that training starts from, for `run` to take one after the other."""
        return self._prepared.plan(self._place.places)

    def run(self, chunk: Chunk) -> np.ndarray:
        """Take the steps of `chunk`; their losses per item (steps,).

        Steps that go wrong are taken again, at a lower learning rate (`twinplate.training.net`).
        Raises InputError for a chunk of another plan that there is no room for, and NonFiniteLossError,
        OutOfMemoryError and ProcessLostError, which hold the last good state. Whatever is raised, `state` is
        afterwards that before the chunk.
        """
        self._prepared.check(chunk)
        with using(self._device, self.training.precision):
            before, limits = self._carry, self._net.limits

            def attempt(steps: Chunk) -> Attempt:
                self._carry = _copy(before)  # whose buffers the loop gives away
                return self._advance(steps)

            def replay(head: Chunk) -> TrainingState:
                self._carry = before
                if len(head.rates):
                    attempt(head)
                return to_state(self._carry, limits)

            try:
                found = take(self._net, chunk, attempt)
            except BaseException as error:  # an interrupt too: no state is left between two chunks
                self._carry = before
                if isinstance(error, jax.errors.JaxRuntimeError) and self._is_lost(error):
                    raise process_lost(
                        self.training, to_state(before, limits), what_ended(error)
                    ) from error
                if not is_out_of_memory(error):
                    raise
                raise out_of_memory(
                    self.training, to_state(before, limits), self._at_once
                ) from error
            if not found.finite:
                chunk = self._net.slowed(chunk)
                broken = non_finite_loss(self.training, chunk, found.losses, replay)
                self._carry = before
                raise broken
            return found.losses

    def _is_lost(self, error: Exception) -> bool:
        """Whether it is another process that has ended, rather than memory."""
        return jax.process_count() > 1 and not is_out_of_memory(error)

    def _advance(self, chunk: Chunk) -> Attempt:
        """Take the steps of `chunk`."""
        inputs = to_inputs(chunk, self._key, self._dtype, self._prepared.length)
        data = self._data or self._place.of_chunk(chunk, self._dtype)
        self._carry, results = self._loop(chunk, self._carry, inputs, *data)
        return to_attempt(results, self._prepared)
