"""From which step on recorded steps are machine code: a number, not the clock, and not what is on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from pyro_impl.compiled.building import Recording, begin_compiled
from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.steps import CompiledStep, Step
from pyro_impl.compiled.telling import Telling
from twinplate.errors import InputError

Begun = Callable[[], CompiledStep]  # waits for what another process compiles


class Switch:
    """Recorded steps as machine code, where that is wanted and can be had.

    start: as `machine_code` of CompiledSVI.  telling: says why there is none.

    is_open: whether steps that are recorded now are to be compiled.
    seconds: spent so far on waiting for it.
    """

    def __init__(self, start: bool | int, telling: Telling) -> None:
        if not isinstance(start, int) or start < 0:
            raise InputError(
                f"machine_code is {start!r}; expected the number of the step from which on steps are "
                "machine code, or True for the first possible one"
            )
        self.start = int(start)  # True is the first step, which none comes before
        self.is_open = self.start > 0
        self.seconds = 0.0
        self._first = 0  # the number of the first step that was machine code
        self._telling = telling

    @property
    def notes(self) -> list[str]:
        """From which step on steps are machine code, in a sentence."""
        switched = f"Steps from {self._first} on are machine code: they differ by rounding."
        return [switched] if self._first else []

    def begin(
        self,
        record: Callable[..., Recording],
        made: Callable[[Recording], Step],
        tensors: list[Tensor],
    ) -> Begun | None:
        """Have a step compiled that is recorded for it, and counts for nothing; None where that cannot be.

        record, made: the recording of a step, and what is made of it.
        """
        recording = record(machine_code=True)
        recording.undo()
        try:
            step = made(recording)
        except CannotCompileError:  # nor can it be replayed, which is told then
            return None
        try:
            return begin_compiled(step, tensors)
        except CannotCompileError as error:
            self._close(error)
            return None

    def due(self, step: Step, number: int) -> Step:
        """Step `number`, recorded as `step`: as machine code from `start` on, whenever it was compiled."""
        if step.begun is None or number < self.start:
            return step
        if step.compiled is None:
            step.compiled = self.waited_for(step.begun, number)
            if step.compiled is None:
                step.begun = None
                return step
        return step.compiled

    def waited_for(self, begun: Begun, number: int) -> CompiledStep | None:
        """The machine code for step `number`; None where there is none after all."""
        started = time.perf_counter()
        try:
            found = begun()
        except CannotCompileError as error:
            self._close(error)
            return None
        finally:
            self.seconds += time.perf_counter() - started
        self._first = self._first or number
        return found

    def _close(self, error: Any) -> None:
        self.is_open = False
        self._telling.eager(f"replayed steps, without machine code: {error}")
