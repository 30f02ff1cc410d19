"""Compiled loops of steps, by their text; how much XLA makes of one depends on the steps that are taken."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import jax

from numpyro_impl.compiled.cost import step_operations
from numpyro_impl.quick_compilation import loop_options


class Loops:
    """Loops that have been compiled; one of few steps quickly, until more are asked for.

    kept: by their text and whether they are optimised.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[str, bool], Callable[..., Any]] = {}
        self._steps = 0

    def compiled(
        self, traced: jax.stages.Traced, lowered: jax.stages.Lowered, steps: int | None
    ) -> Callable[..., Any]:
        """A loop, traced and lowered, compiled where its text is a new one.

        steps: that will be taken, if known.
        """
        text = hashlib.sha256(lowered.as_text().encode()).hexdigest()
        if (text, True) in self.kept:
            return self.kept[text, True]
        options = None
        if steps is not None:
            self._steps += steps
            operations = step_operations(traced.jaxpr.jaxpr)
            options = loop_options(jax.default_backend(), self._steps, operations)
        key = text, options is None
        if key not in self.kept:
            self.kept[key] = lowered.compile(compiler_options=options)
        return self.kept[key]
