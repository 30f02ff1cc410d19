"""A step taken twice from the same state and random numbers: as recorded, undone, and by Pyro itself.

Pyro's own counts. Where the two are the same nothing shows that another one was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro.infer.util import zero_grads
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_impl.compiled.agreement import Outcome, rewinding
from pyro_impl.compiled.steps import Step


def taken_twice(
    step: Step,
    tensors: list[Tensor],
    optim: PyroOptim,
    whole: Callable[[], Any],
    differentiate: Callable[[], Any],
) -> tuple[Any, str | None] | None:
    """The loss of Pyro's step, and in words what differs or None; None where the recorded one does not apply.

    whole: Pyro's step.  differentiate: its first half, which leaves gradients in the leaves; `optim` then
    takes its step once, with these, where it is no Adam that is known.
    """
    update, written, changed = step.update, step.graph.written, step.changed()
    rewind, counters = rewinding(changed), [] if update is None else update.counters()
    found = step.differentiated(tensors) if update is None else (step.take(tensors, optim), [])
    if found is None or found[0] is None:
        return None
    ours = Outcome(found[0], [*found[1], *(tensor.detach().clone() for tensor in changed)])
    rewind()
    if update is not None:
        update.set_counters(counters)
        theirs = Outcome(whole(), changed)
    else:
        loss = differentiate()
        gradients = [leaf.grad for leaf in step.trained if leaf.grad is not None]
        theirs = Outcome(loss, [*gradients, *written])
    differs = step.difference(ours, theirs)
    if update is None:
        if step.clip is not None:
            step.clip.cut_leaves(step.trained)
        optim(step.trained)
        zero_grads(step.trained)
    return theirs.loss, differs
