"""Training that cannot go on: what happened where, what to do, and everything reached until then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.programs.parameters import check_params
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.training.net import HALVINGS
from twinplate.training.plan import Chunk
from twinplate.training.state import Array, Fit, TrainingState
from twinplate.words import counted

SHOWN = 8  # items of a mini-batch that a message names

# How the allocators of torch (CPU, CUDA) and of XLA say that there is no more.
EXHAUSTED = ("out of memory", "can't allocate memory", "resource_exhausted")


class TrainingError(Exception):
    """Training stopped early; everything that it had reached is in `fit`.

    No InputError, which says that the arguments are wrong: those of a run that stops early were right,
    and whoever handles bad input must not lose the hours of training that are in `fit`.

    fit: the last good state and the losses up to it. `fit.state` can be given to `fit` again, with another
        configuration. From `CompiledSVI` in NumPyro it is an SVIRunResult instead, which has the same
        fields, and its `state` is for `CompiledSVI.run`.
    """

    def __init__(self, message: str, fit: Fit) -> None:
        super().__init__(message)
        self.fit = fit


class NonFiniteLossError(TrainingError):
    """A loss, or the gradient of one, was infinite or not a number.

    >>> import numpy as np
    >>> from twinplate import Fit, NonFiniteLossError, TrainingState
    >>> good = Fit(TrainingState.start({"raw_intercept": np.ones(2)}), losses=np.array([3.0, 2.5]))
    >>> try:
    ...     raise NonFiniteLossError("the loss is nan at step 2", good)  # as `fit` does
    ... except NonFiniteLossError as error:
    ...     print(error.fit.losses)
    [3.  2.5]
    """


class OutOfMemoryError(TrainingError):
    """The device has no memory for a mini-batch of this size.

    >>> import numpy as np
    >>> from twinplate import Fit, OutOfMemoryError, TrainingState
    >>> good = Fit(TrainingState.start({"raw_intercept": np.ones(2)}), losses=np.array([3.0, 2.5]))
    >>> try:
    ...     raise OutOfMemoryError("out of memory with batch_size 256", good)  # as `fit` does
    ... except OutOfMemoryError as error:
    ...     print(error.fit.params)  # where a fit with a smaller batch_size can go on from
    {'raw_intercept': array([1., 1.])}
    """


class ProcessLostError(TrainingError):
    """Another process of the group that trained together has ended.

    >>> import numpy as np
    >>> from twinplate import Fit, ProcessLostError, TrainingState
    >>> good = Fit(TrainingState.start({"raw_intercept": np.ones(2)}), losses=np.array([3.0, 2.5]))
    >>> try:
    ...     raise ProcessLostError("another process of the group has ended", good)  # as `fit` does
    ... except ProcessLostError as error:
    ...     print(error.fit.losses)
    [3.  2.5]
    """


class TrainingInterrupted(KeyboardInterrupt):
    """A KeyboardInterrupt, as by Ctrl-C, that carries what training had reached.

    fit: the state after the last chunk of steps that was finished, and the losses up to it. `fit.state` can
        be given to `fit` again, to go on. By `fit_many` it is the Restarts of the fits that had begun; by
        `CompiledSVI` of NumPyro an SVIRunResult.
    step: how many steps that were, where the state does not know.

    >>> import numpy as np
    >>> from twinplate import Fit, TrainingInterrupted, TrainingState
    >>> good = Fit(TrainingState.start({"raw_intercept": np.ones(2)}), losses=np.array([3.0, 2.5]))
    >>> try:
    ...     raise TrainingInterrupted(good)  # as `fit` does
    ... except KeyboardInterrupt as error:
    ...     print(error.fit.losses)
    [3.  2.5]
    """

    def __init__(self, fit: Any, step: int | None = None) -> None:
        reached = fit.state.step if step is None else step
        super().__init__(f"training was interrupted after step {reached}")
        self.fit = fit


def _dictionaries(state: TrainingState) -> dict[str, Params]:
    """The four dictionaries of a state, each of which has the names and shapes of the parameters."""
    return {
        "params": state.params,
        "mean": state.mean,
        "variance": state.variance,
        "average": state.average,
    }


def is_finite(state: TrainingState) -> bool:
    """Whether every parameter, moment and average is a finite number."""
    groups = _dictionaries(state).values()
    return all(bool(np.isfinite(v).all()) for group in groups for v in group.values())


def check_state(state: TrainingState, program: ReferenceProgram) -> None:
    """Raise InputError for a state that no training of `program` can start from."""
    for which, values in _dictionaries(state).items():
        try:
            check_params(program, values)
        except InputError as error:
            raise InputError(f"the {which} of the state given: {error}") from error
    if not is_finite(state):
        raise InputError(
            f"the state given, of step {state.step}, holds numbers that are not finite; expected that of a "
            "run that went well, such as the `fit.state` of a TrainingError"
        )


def non_finite_loss(
    training: TrainingConfig,
    chunk: Chunk,
    losses: Array,
    replay: Callable[[Chunk], TrainingState],
) -> NonFiniteLossError:
    """The error for a chunk in which a loss, or after which the state, is not finite.

    losses: (steps,), per item, of all steps of the chunk.
    replay: takes `chunk.head(n)` once more from the state before the chunk, and returns the state after it.

    The message names the step that the last finite state cannot take. Either its loss is not finite, or
    its loss is finite and its gradient is not. In the second case only the loss of the next step shows it.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    step, state = _last_finite(int(bad[0]) if len(bad) else len(losses), chunk, replay)
    last = min(step, len(losses) - 1)
    message = (
        f"{what_broke(losses[last])} at step {state.step} of {training.steps} (the first is 0), on the "
        f"mini-batch of {_shortened(chunk.indices[last])}; the norm of the parameters is "
        f"{norm(state.params.values()):.3g}; the state before this step is kept. Rates down to "
        f"1/{2**HALVINGS} of this one did not help; try a learning rate far below "
        f"{training.learning_rate:g}"
    )
    if training.precision == "float32":
        message += ", or precision float64"
    return NonFiniteLossError(message, Fit(state, losses[:step]))


def _last_finite(
    most: int, chunk: Chunk, replay: Callable[[Chunk], TrainingState]
) -> tuple[int, TrainingState]:
    """The largest number of steps, `most` or less, after which the state is finite; and that state.

    A number that is not finite stays so in all later steps, and so bisection finds where it comes from.
    """
    state = replay(chunk.head(most))
    if most == 0 or is_finite(state):
        return most, state
    good, state = 0, replay(chunk.head(0))
    while most - good > 1:
        middle = (good + most) // 2
        reached = replay(chunk.head(middle))
        if is_finite(reached):
            good, state = middle, reached
        else:
            most = middle
    return good, state


def what_broke(loss: float) -> str:
    """What was not finite in a step with this loss."""
    if not np.isfinite(loss):
        return f"the loss is {loss:g}"
    return "the loss is finite but its gradient is not, or is too large to be squared,"


def norm(arrays: Iterable[np.ndarray]) -> float:
    """The Euclidean norm of all numbers of `arrays` together, without overflow where they are large."""
    arrays = [np.asarray(values, np.float64) for values in arrays]
    largest = max((float(np.abs(v).max(initial=0)) for v in arrays), default=0.0) or 1.0
    return largest * float(np.sqrt(sum(np.square(v / largest).sum() for v in arrays)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, XLA or Python raised `error` for want of memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in EXHAUSTED)


@contextmanager
def room_for(x: Matrix) -> Iterator[None]:
    """A context in which all of `x` goes to the device. Raises InputError where there is no memory for it."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"out of memory with all of x, of shape {x.shape}, on the device; expected data that fit, or a "
            "memory map, of which only mini-batches go there: np.save(path, x), np.load(path, mmap_mode='r')"
        ) from error


def out_of_memory(
    training: TrainingConfig, state: TrainingState, items: int | None = None
) -> OutOfMemoryError:
    """The error for a mini-batch that the device has no memory for.

    state: that before the chunk of the mini-batch.
    items: how many of a mini-batch were taken at once; by default all of them.
    """
    items = items or training.batch_size
    at_once = training.particles if training.vectorize_particles else 1
    message = (
        f"out of memory with batch_size {training.batch_size}"
        + (f", {counted(items, 'item')} at once," if items < training.batch_size else "")
        + (f" and {at_once} particles at once" if at_once > 1 else "")
        + f" after step {state.step} of {training.steps}; the state of that step is kept. "
    )
    ways = [f"batch_size {items // 2}"] if items > 1 else []
    if at_once > 1:
        ways.append("one particle after the other (vectorize_particles=False)")
    message += f"Try {' or '.join(ways) or 'a smaller model, or a device with more memory'}"
    return OutOfMemoryError(message, Fit(state, np.zeros(0)))


def process_lost(training: TrainingConfig, state: TrainingState, what: str) -> ProcessLostError:
    """The error for a group of processes one of which has ended; `state` is that before the chunk."""
    message = f"after step {state.step} of {training.steps} {what}; the state of that step is kept"
    return ProcessLostError(message, Fit(state, np.zeros(0)))


def _shortened(items: np.ndarray) -> str:
    listed = ", ".join(str(i) for i in items[:SHOWN])
    if len(items) > SHOWN:
        listed += f", … ({len(items)} in all)"
    return f"item{'s' if len(items) > 1 else ''} {listed}"
