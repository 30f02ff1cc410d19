"""Ctrl-C and SIGTERM: what was trained until then is saved, what is being written is taken away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinplate.training.state import Array, Progress

SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stop:
    """Which signal came, if one did. It raises a KeyboardInterrupt, but not where it is held off."""

    def __init__(self) -> None:
        self._number = 0
        self._held = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        if not self._held:
            raise KeyboardInterrupt

    @property
    def came(self) -> bool:
        """Whether a signal came."""
        return self._number != 0

    def check(self) -> None:
        """Raise the KeyboardInterrupt once more if some library has swallowed it."""
        if self._number:
            raise KeyboardInterrupt

    def checked_after(self, report: Progress) -> Progress:
        """`report`, and then `check`."""

        def told(done: int, losses: Array) -> None:
            report(done, losses)
            self.check()

        return told

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """A context that a signal does not interrupt."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    @property
    def name(self) -> str:
        """What stopped it, in words."""
        return SIGNALS.get(signal.Signals(self._number or signal.SIGINT), "a signal")

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells count."""
        return 128 + (self._number or signal.SIGINT)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """A context in which the signals raise a KeyboardInterrupt and are known; those ignored stay ignored."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread is told of signals
        return
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
