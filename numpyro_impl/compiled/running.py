"""A run of chunks of steps: one is read while the device takes the one before; what goes wrong is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from numpyro.infer.svi import SVIRunResult, SVIState

from numpyro_impl.compiled.batching import Reached, Steps
from numpyro_impl.compiled.steadied import Steady, limits_of, with_limits
from twinplate.training.errors import (
    NonFiniteLossError,
    OutOfMemoryError,
    TrainingError,
    TrainingInterrupted,
    is_out_of_memory,
    norm,
    what_broke,
)
from twinplate.training.net import Attempt, Net
from twinplate.training.plan import Chunk
from twinplate.training.state import Progress

SMALLER = (
    "a smaller subsample_size of the plates, fewer items in the arguments, or one particle after the other "
    "(vectorize_particles=False)"
)

Losses = list[np.ndarray]


@dataclass
class Running:
    """How the steps of one run are taken.

    shown: a bar of `tqdm` that counts them, and knows how many they are to be.
    result: of a state and the losses before it.
    net: whether chunks that go wrong are taken again.  tolerant: of numbers that are not finite.
    notes: sentences on what the net did.
    """

    shown: Any
    progress: Progress | None
    result: Callable[[SVIState, Losses], SVIRunResult]
    net: bool = False
    tolerant: bool = False
    notes: list[str] = field(default_factory=list)

    def run(self, chunks: Iterator[Steps], state: SVIState) -> SVIRunResult:
        """Take all steps.

        Raises NonFiniteLossError, OutOfMemoryError and TrainingInterrupted, which hold the last good state as
        `fit`; an error of whoever reads the mini-batches, or of `progress`, gets that attribute too.
        """
        losses: Losses = []
        of = "" if self.shown.total is None else f" of {self.shown.total}"
        done = 0
        try:
            chunk = next(chunks, None)
            while chunk is not None:
                net = Net(limits_of(state)) if self.net else None
                running = chunk.start(state if net is None else _slowed(state, net))
                following, failed = _read(chunks)  # while the device takes the steps of this one
                after, found, finite = self._settled(chunk, state, running, net, done)
                if not (finite or self.tolerant):
                    raise self._non_finite(chunk, state, losses, found, of)
                state, done, chunk = after, done + chunk.length, following
                losses.append(found)
                self.shown.update(len(found))
                if self.progress:
                    self.progress(done, found.astype(np.float64))
                if failed is not None:
                    raise failed
        except KeyboardInterrupt as interrupt:
            raise TrainingInterrupted(self.result(state, losses), done) from interrupt
        except Exception as error:
            if not is_out_of_memory(error):
                _keep(error, self.result(state, losses), done)
                raise
            raise OutOfMemoryError(
                f"out of memory after step {done}{of}; the state of that step is kept, as "
                f"`fit.state` of this error. Try {SMALLER}",
                self.result(state, losses),
            ) from error
        finally:
            self.shown.close()
        return self.result(state, losses)

    def _settled(
        self, chunk: Steps, state: SVIState, running: Reached, net: Net | None, done: int
    ) -> tuple[SVIState, np.ndarray, bool]:
        """What came of a chunk that was begun at `state`, taken again as often as the net says."""
        after, found, finite = _fetched(running, chunk.length)
        if net is None:
            return after, found, finite
        steps = Chunk(done, np.zeros((chunk.length, 0), np.int64), np.ones(chunk.length), {})
        while not net.accepts(steps, Attempt(found.astype(np.float64), finite)):
            slower = replace(net.limits, rate=float(net.slowed(steps).rates[0]))
            running = chunk.start(with_limits(state, slower))
            after, found, finite = _fetched(running, chunk.length)
        self.notes += net.notes
        return with_limits(after, net.limits), found, finite

    def _non_finite(
        self, chunk: Steps, state: SVIState, losses: Losses, found: np.ndarray, of: str
    ) -> NonFiniteLossError:
        """The error for the chunk with the losses `found`, taken again from `state`, step by step."""
        steps, loss = 0, found
        while steps < len(found):
            after, loss, finite = _fetched(chunk.take(state, steps, 1), 1)
            if not finite:
                break
            state, steps = after, steps + 1
        reached = self.result(state, [*losses, found[:steps]])
        guards = (
            "" if isinstance(state.optim_state, Steady) else "clip=5.0 or net=True of CompiledSVI, "
        )
        return NonFiniteLossError(
            f"{what_broke(float(loss[0]))} at step {len(reached.losses)}{of} (the first is 0); "
            f"the norm of the parameters is {norm(jax.tree.leaves(reached.params)):.3g}; the state before "
            f"this step is kept, as `fit.state` of this error. Try {guards}a lower learning rate, or "
            "jax.enable_x64",
            reached,
        )


def _read(chunks: Iterator[Steps]) -> tuple[Steps | None, BaseException | None]:
    """The next chunk, or what kept it from being read."""
    try:
        return next(chunks, None), None
    except BaseException as error:
        return None, error


def _keep(error: Any, reached: SVIRunResult, done: int) -> None:
    """Let an error of the user's own code hold what was reached."""
    if isinstance(error, TrainingError) or not done:
        return
    with suppress(AttributeError):  # of a class with slots
        error.fit = reached
        error.add_note(f"The state after step {done} is kept, as `fit.state` of this error.")


def _slowed(state: SVIState, net: Net) -> SVIState:
    """At the rate that the net has left; shares of a rate are 1 at most."""
    return with_limits(state, replace(net.limits, rate=min(net.limits.rate, 1.0)))


def _fetched(running: Reached, steps: int) -> tuple[SVIState, np.ndarray, bool]:
    """The state stays on the device; the losses of the steps, and whether all is finite, do not."""
    after, *results = running
    losses, finite = jax.device_get(results)  # the only wait for the device in a chunk
    losses = np.asarray(losses)[:steps]
    return after, losses, bool(finite) and bool(np.isfinite(losses).all())
