"""Places that hold what a program reads: what was in them, whether it still is, and how to put it back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from operator import is_, itemgetter
from typing import Any

import numpy as np
import torch

PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic, torch.dtype, torch.device)
GONE = (KeyError, IndexError, ValueError, AttributeError)


@dataclass
class GuardedPlace:
    """Entries of one dictionary or list, or attributes of one object, read at once by one call.

    getter: makes of `keys` a function that reads them.  put: writes one, where it is no entry.
    """

    label: str
    mapping: Any
    keys: tuple[Any, ...]
    watched: bool = True
    getter: Callable[..., Callable[[Any], Any]] = itemgetter
    put: Callable[[Any, Any], None] | None = None

    def __post_init__(self) -> None:
        # One key twice: a lone key would be answered with the bare value.
        self.get: Callable[[Any], tuple[Any, ...]] = self.getter(*self.keys, self.keys[0])
        self.values = self.get(self.mapping)

    def is_same(self) -> bool:
        """By identity, which is a comparison of addresses in C; False as well where something is gone.

        An equal number may be another object. `difference` sorts that out, and is asked only then.
        """
        try:
            return all(map(is_, self.get(self.mapping), self.values))
        except GONE:
            return False

    def difference(self) -> str | None:
        """Which entry is another one: not the same object, nor an equal plain value."""
        for key, before in zip(self.keys, self.values, strict=False):
            try:
                now = self.getter(key)(self.mapping)
            except GONE:
                return self.named(key)
            if not _equal(now, before):
                return self.named(key)
        self.values = self.get(self.mapping)  # equal ones, from now on known by their identity
        return None

    def named(self, key: Any) -> str:
        """The entry in the user's words."""
        return self.label.format(key)

    def restore(self) -> None:
        """Put back what was there."""
        if not self.is_same():
            put = self.mapping.__setitem__ if self.put is None else self.put
            for key, value in zip(self.keys, self.values, strict=False):
                put(key, value)


def _equal(now: Any, before: Any) -> bool:
    if now is before or type(now) is not type(
        before
    ):  # 1, 1.0 and True are equal, and not the same
        return now is before
    if isinstance(now, tuple):
        return len(now) == len(before) and all(map(_equal, now, before))
    return isinstance(now, (*PLAIN, frozenset)) and bool(now == before)


class GuardedContainer:
    """All entries of a dictionary, list or set: none may be added or taken away."""

    def __init__(self, label: str, container: Any) -> None:
        self.label = label
        self.container = container
        kind = next(k for k in (dict, list, deque, set) if isinstance(container, k))
        self.before = kind(container)

    def difference(self) -> str | None:
        """How it is another one, in words."""
        if len(self.container) != len(self.before):
            return f"{self.label} of {len(self.before)} entries that now has {len(self.container)}"
        if isinstance(self.container, set) and self.container != self.before:
            return f"{self.label} of {len(self.before)} entries that now has others"
        return None

    def restore(self) -> None:
        """Put back what was there."""
        if self.difference() is not None:
            self.container.clear()
            is_sequence = isinstance(self.container, list | deque)
            (self.container.extend if is_sequence else self.container.update)(self.before)
