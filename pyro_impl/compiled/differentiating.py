"""The first half of a step, which leaves gradients in the leaves, and what becomes of these gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyro import poutine
from torch import Tensor

from pyro_impl.compiled.clipping import Clip
from pyro_impl.compiled.reducing import Reduction
from pyro_impl.compiled.steps import named_leaves


class Differentiation:
    """`loss_and_grads` of an SVI, with gradients added up over a group of processes, and then cut.

    plain: as Pyro has it.  reduction, clip: None to leave the gradients as they are.
    """

    def __init__(
        self,
        plain: Callable[..., Any],
        clip: Clip | None = None,
        reduction: Reduction | None = None,
    ) -> None:
        self.plain, self.clip, self.reduction = plain, clip, reduction

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.clip is None and self.reduction is None:
            return self.plain(*args, **kwargs)
        with poutine.trace(param_only=True) as found:
            loss = self.plain(*args, **kwargs)
            # within, so that a parameter which only other processes have visited is visited here
            return self.completed(
                loss, named_leaves(found.trace), partial(self.plain, *args, **kwargs)
            )[0]

    def completed(
        self, loss: Any, leaves: dict[str, Tensor], again: Callable[[], Any]
    ) -> tuple[Any, list[Tensor]]:
        """The loss and the leaves that move, after a step that has left gradients in `leaves`.

        again: takes that step once more.
        """
        moved = [*leaves.values()]
        if self.reduction is not None:
            loss, moved = self.reduction.of_leaves(loss, leaves, again)
        if self.clip is not None:
            self.clip.cut_leaves(moved)
        return loss, moved
