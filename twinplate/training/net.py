"""The net beneath a training run: a chunk of steps that goes wrong is taken again, at half the rate.

A chunk goes wrong if it does not end finite, or if its last losses are far above those at the end of the
chunk before. The lower rate then is the most that any later step has. Where the rate is not the cause, the
chunk stands as it first was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from twinplate.training.plan import Chunk
from twinplate.training.state import Array, Limits
from twinplate.training.step_size import Burst

HALVINGS = 5  # of the rate of a chunk, before it stands as it is
WINDOW = 20  # losses at the end of a chunk, by whose median it is judged; a shorter chunk is not
# A median has jumped that is higher than the one before by RISE nats per item, and by SPREADS times the
# interquartile range of the losses that gave that one: some thirty times what chance explains.
RISE = 1.0
SPREADS = 10.0


@dataclass(frozen=True)
class Attempt:
    """What the steps of a chunk came to.

    losses: (steps,), per item.  finite: whether losses and state are.
    burst: the gradient that was the largest beside its usual size; None if none was.
    """

    losses: Array
    finite: bool
    burst: Burst | None = None

    @classmethod
    def of(
        cls,
        losses: Array,
        finite: bool,
        names: Sequence[str],
        largest: npt.ArrayLike,
        at: npt.ArrayLike,
    ) -> Attempt:
        """With the largest of bursts that are given by tensor."""
        times = np.nan_to_num(np.asarray(largest, np.float64))
        which = int(np.argmax(times))
        burst = Burst(names[which], float(times[which]), int(np.asarray(at)[which]))
        return cls(losses, finite, burst if times[which] else None)


class Net:
    """Judges the chunks of one run, and keeps what was said of them.

    `slowed` gives the steps to try, and `accepts` says whether what came of them counts:

        while not net.accepts(chunk, attempt := take(net.slowed(chunk))): ...

    limits: those of the state before the chunk, and once it is accepted those of the state after it.
    notes: sentences on what was done, in order.

    >>> chunk = Chunk(0, np.zeros((2, 1), int), np.array([0.4, 0.2]), {})
    >>> net = Net(Limits())
    >>> net.accepts(chunk, Attempt(np.array([3.0, np.nan]), finite=False))
    False
    >>> net.slowed(chunk).rates
    array([0.2, 0.2])
    >>> net.accepts(chunk, Attempt(np.array([3.0, 2.9]), finite=True)), net.limits.rate
    (True, 0.2)
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.notes: list[str] = []
        self._rate, self._halved, self._wrong = limits.rate, 0, ""
        self._told_of_burst = False

    def slowed(self, chunk: Chunk) -> Chunk:
        """The chunk at rates that are next to be tried."""
        return replace(chunk, rates=np.minimum(chunk.rates, self._rate))

    def accepts(self, chunk: Chunk, attempt: Attempt) -> bool:
        """Whether the attempt counts. If not, `slowed` has another one."""
        wrong = self._what_is_wrong(chunk, attempt)
        if wrong and self._halved <= HALVINGS:
            self._wrong = self._wrong or wrong
            self._halved += 1
            is_last = self._halved > HALVINGS
            self._rate = self.limits.rate if is_last else float(self.slowed(chunk).rates.max()) / 2
            return False
        self._note(chunk, attempt)
        closing = attempt.losses[-WINDOW:]
        loss = self.limits.loss
        if attempt.finite and len(closing) == WINDOW:
            low, middle, high = np.quantile(closing, (0.25, 0.5, 0.75))
            loss = float(middle + RISE + SPREADS * (high - low))
        if attempt.finite:
            self.limits = Limits(self._rate, loss)
        self._rate, self._halved, self._wrong = self.limits.rate, 0, ""
        return True

    def _what_is_wrong(self, chunk: Chunk, attempt: Attempt) -> str:
        """In words, or nothing."""
        bad = np.flatnonzero(~np.isfinite(attempt.losses))
        if len(bad):
            return f"the loss is {attempt.losses[bad[0]]:g} at step {chunk.first + bad[0]}"
        if not attempt.finite:
            return "a parameter is not finite at their end"
        closing = attempt.losses[-WINDOW:]
        if len(closing) == WINDOW and (median := float(np.median(closing))) > self.limits.loss:
            return f"the loss is {median:.4g} at their end, which had been well below {self.limits.loss:.4g}"
        return ""

    def _note(self, chunk: Chunk, attempt: Attempt) -> None:
        burst = attempt.burst
        if burst is not None and burst.is_noted and not self._told_of_burst:
            self._told_of_burst = True
            self.notes.append(str(burst))
        if not self._halved:
            return
        steps = f"steps {chunk.first} to {chunk.first + len(chunk.rates) - 1} went wrong ({self._wrong})"
        if self._halved > HALVINGS:
            done = (
                f"; 1/{2**HALVINGS} of their learning rate did not help, so they stand as they were"
            )
        else:
            done = (
                f" and were taken again at 1/{2**self._halved} of their learning rate, {self._rate:.3g}; no "
                "later step has a higher one"
            )
        self.notes.append(steps + done)


def take(net: Net, chunk: Chunk, attempt: Callable[[Chunk], Attempt]) -> Attempt:
    """What comes of a chunk.

    attempt: takes given steps from the state before the chunk, as often as it is called.
    """
    while not net.accepts(chunk, found := attempt(net.slowed(chunk))):
        pass
    return found
