"""When a run that is under way is kept: so that no more than a given time of work can be lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from twinplate.errors import InputError

if TYPE_CHECKING:
    from twinplate.training.state import Fit

EVERY = 30.0  # seconds


def check_interval(every: float) -> None:
    """Raise InputError unless `every` is a number of seconds."""
    if not 0 <= every < math.inf:
        raise InputError(f"--checkpoint-every is {every:g}; expected seconds, 0 or more")


class Checkpoints:
    """Keeps what was reached, at ends of chunks of steps that are at most `every` seconds apart.

    A chunk that takes longer is kept once it is done. Only when something is written depends on the clock,
    never what.

    write: keeps a fit; an InputError of it does not end the training.  tell: says so.
    """

    def __init__(
        self, every: float, write: Callable[[Fit], None], tell: Callable[[str], None]
    ) -> None:
        self._every, self._write, self._tell = every, write, tell
        self._kept = self._before = time.monotonic()

    def __call__(self, reached: Callable[[], Fit]) -> None:
        """After a chunk. `reached` copies the state from the device."""
        now = time.monotonic()
        chunk, self._before = now - self._before, now
        if now + chunk - self._kept < self._every:  # there is time for another one
            return
        try:
            self._write(reached())
        except InputError as error:
            self._tell(f"Training goes on, but {error}")
        self._kept = self._before = time.monotonic()
