"""Whether what a program reads besides its arguments is still the same.

A compiled graph keeps the numbers, flags and tensors that Python handed to it. `sources` finds where they
come from; here all of these places are looked at before each step. That has to take microseconds, so places
are compared by identity, many in one call, and described only where something changed.
"""

from __future__ import annotations

import itertools
from collections import deque
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.generators import GENERATORS
from pyro_impl.compiled.guarded_places import GONE, PLAIN, GuardedContainer, GuardedPlace
from pyro_impl.compiled.sources import Sources

MOST = 20_000  # places; looking at more of them would take longer than many a step
# No look into these: numbers are what is compared, a tensor is read anew in every step, and whether an array
# was written into shows only by its content, which a comparison with an eager step finds.
ENDS = (*PLAIN, Tensor, np.ndarray)


class Guards:
    """All that `roots` (functions, modules, objects) read, as it is now.

    generators: of random numbers that are among it.

    Raises CannotCompileError where that is too much to look at, or moves on unseen.
    """

    def __init__(self, *roots: Any) -> None:
        self._places: list[GuardedPlace] = []
        self._containers: list[GuardedContainer] = []
        self.generators: list[Any] = []
        sources = Sources(*roots)
        seen: dict[int, Any] = {}
        # With the place and key that each was found by, where there is one.
        waiting: deque[tuple[Any, GuardedPlace | None, Any]] = deque((r, None, None) for r in roots)
        while waiting:
            item, place, key = waiting.popleft()
            if id(item) in seen or isinstance(item, ENDS):
                continue
            seen[id(item)] = item
            if isinstance(item, GENERATORS):
                self.generators.append(item)
                continue
            if isinstance(item, torch.jit.ScriptModule):
                raise CannotCompileError(
                    "it calls a module of torch.jit, into which no look can be taken; give the module itself"
                )
            for found in sources.inside(item):
                if isinstance(found, GuardedPlace):
                    self._add(found)
                    pairs = zip(found.keys, found.values, strict=False)
                    waiting += [(v, found, k) for k, v in pairs] if found.watched else ()
                elif isinstance(found, GuardedContainer):
                    if place is not None:
                        found.label = f"{place.named(key)}, {found.label}"
                    self._containers.append(found)
                else:
                    waiting.append((found, place, key))
        self._watched = [p for p in self._places if p.watched]
        # What `change` looks at in every step, without the look-up of attributes.
        self._fast = [(p.get, p.mapping, p.values) for p in self._watched]
        self._held = [c.container for c in self._containers]
        self._lengths = [len(c.before) for c in self._containers]
        self._sets = [c for c in self._containers if isinstance(c.container, set)]

    def _add(self, place: GuardedPlace) -> None:
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
        if [*map(len, self._held)] != self._lengths:
            return next(
                found for container in self._containers if (found := container.difference())
            )
        for container in self._sets:
            if (found := container.difference()) is not None:
                return found
        try:
            for get, mapping, values in self._fast:
                if not all(map(is_, get(mapping), values)):
                    break
            else:
                return None
        except GONE:
            pass
        # Every place is asked, also after the first change: those that are equal learn their new identity.
        changes = [found for place in self._watched if (found := place.difference())]
        self._fast = [(p.get, p.mapping, p.values) for p in self._watched]
        return changes[0] if changes else None

    def restore(self) -> None:
        """Everything as it was, also what is not watched."""
        for container in self._containers:
            container.restore()
        for place in self._places:
            place.restore()
