"""Whether what a program reads besides its arguments is still the same.

A compiled graph keeps the numbers, flags and tensors that Python handed to it; `reads` finds them
before that.
"""

from __future__ import annotations

import itertools
from collections import deque
from operator import is_
from typing import Any

import numpy as np
from torch import Tensor

from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.guarded_places import GONE, PLAIN, Place, Whole
from pyro_impl.compiled.sources import Reads

MOST = 20_000  # places; looking at more of them would take longer than many a step
ENDS = (*PLAIN, Tensor, np.ndarray)


class Guards:
    """All that `roots` (functions, modules, objects) read, as it is now.

    Raises CannotCompileError where that is too much to look at, or moves on unseen.
    """

    def __init__(self, *roots: Any) -> None:
        self._places: list[Place] = []
        self._whole: list[Whole] = []
        reads = Reads(*roots)
        seen: dict[int, Any] = {}
        waiting = deque(roots)
        while waiting:
            item = waiting.popleft()
            if id(item) in seen or isinstance(item, ENDS):
                continue
            seen[id(item)] = item
            for found in reads.inside(item):
                if isinstance(found, Place):
                    self._add(found)
                    waiting += found.values if found.watched else ()
                elif isinstance(found, Whole):
                    self._whole.append(found)
                else:
                    waiting.append(found)
        self._watched = [p for p in self._places if p.watched]
        # Looked at in every step.
        self._fast = [(p.get, p.mapping, p.values) for p in self._watched]
        self._containers = [w.container for w in self._whole]
        self._lengths = [len(w.before) for w in self._whole]
        self._sets = [w for w in self._whole if isinstance(w.container, set)]

    def _add(self, place: Place) -> None:
        for key, value in zip(place.keys, place.values, strict=False):
            if isinstance(value, itertools.count):
                raise CannotCompileError(f"{place.named(key)} counts on with every run")
        self._places.append(place)
        if len(self._places) > MOST:
            raise CannotCompileError(
                f"it reads more than {MOST} lists, dictionaries and objects, too many to look at before "
                "every step"
            )

    def change(self) -> str | None:
        """What is not as it was, in words; None when all is."""
        if [*map(len, self._containers)] != self._lengths:
            return next(found for whole in self._whole if (found := whole.difference()))
        for whole in self._sets:
            if (found := whole.difference()) is not None:
                return found
        try:
            for get, mapping, values in self._fast:
                if not all(map(is_, get(mapping), values)):
                    break
            else:
                return None
        except GONE:
            pass
        changes = [found for place in self._watched if (found := place.difference())]
        self._fast = [(p.get, p.mapping, p.values) for p in self._watched]
        return changes[0] if changes else None

    def restore(self) -> None:
        """Everything as it was, also what is not watched."""
        for whole in self._whole:
            whole.restore()
        for place in self._places:
            place.restore()
