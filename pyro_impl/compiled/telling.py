"""What the user is told of steps, each thing once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro_impl.compiled.errors import EagerWarning
from pyro_impl.objectives.loss_faults import FAULTY, faults_of, kept_traces
from twinplate.loss_faults import WrongLossWarning
from twinplate.user_code import warn_user


class Telling:
    """Warnings about the steps of one SVI, at the user's line; `loss` is its own."""

    def __init__(self, loss: Any, is_own: bool) -> None:
        self._told: set[str] = set()
        # A loss that Pyro gets wrong for some programs, until its first step.
        self._faulty = loss if isinstance(loss, tuple(FAULTY)) and not is_own else None

    def eager(self, what: str) -> None:
        """Which steps are not replayed."""
        self._warn(f"CompiledSVI runs {what}", EagerWarning)

    def faults(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Take a step of Pyro's; the first one shows the traces of its loss."""
        if self._faulty is None:
            return step(*args, **kwargs)
        elbo, self._faulty = self._faulty, None
        with kept_traces(elbo) as traces:
            loss = step(*args, **kwargs)
        for fault in faults_of(elbo, *traces[0]):
            self._warn(fault, WrongLossWarning)
        return loss

    def _warn(self, message: str, category: type[Warning]) -> None:
        if message not in self._told:
            self._told.add(message)
            warn_user(message, category)
