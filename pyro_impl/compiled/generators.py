"""Generators of random numbers that no record draws from: their states, kept while a step is recorded."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
States = list[tuple[Callable[[], Any], Callable[[Any], Any]]]


class Draws:
    """What Python's and NumPy's own generators, and `others`, have drawn since it was made."""

    def __init__(self, others: Sequence[Any]) -> None:
        self._states: States = [
            (random.getstate, random.setstate),
            (np.random.get_state, np.random.set_state),
            *map(_state, others),
        ]
        self._before = [get() for get, _ in self._states]
        self._bytes = pickle.dumps(self._before)

    def any(self) -> bool:
        """Whether one of them is in another state now."""
        return pickle.dumps([get() for get, _ in self._states]) != self._bytes

    def undo(self) -> None:
        """Give all of them the states that they had."""
        for (_, give), state in zip(self._states, self._before, strict=True):
            give(state)


def _state(generator: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Functions that get and give its state."""
    if isinstance(generator, random.Random):
        return generator.getstate, generator.setstate
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return (lambda: bits.state), (lambda state: setattr(bits, "state", state))
    return generator.get_state, generator.set_state
