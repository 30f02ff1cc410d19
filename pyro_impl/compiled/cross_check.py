"""A step taken twice from the same state and random numbers: as recorded, undone, and by Pyro itself.

Pyro's own counts where the two are the same to the bit, so nothing shows that another one was taken. Of
machine code its own does: which steps are compared must not show in the numbers, and a run that goes on
compares others than one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
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
    """The loss of the step that counts, and in words what differs or None.

    None where the recorded step does not apply.

    whole: Pyro's step.  differentiate: its first half, which leaves gradients in the leaves. A step that is
    not whole is compared by this half, and moves once, by the gradients that count.
    """
    update = step.update if step.is_whole else None
    changed = step.changed()
    rewind, counters = rewinding(changed), [] if update is None else update.counters()
    found = step.differentiated(tensors) if update is None else (step.take(tensors, optim), [])
    if found is None or found[0] is None:
        return None
    after = [tensor.detach().clone() for tensor in changed]
    ours = Outcome(found[0], [*found[1], *after])
    rewind()
    if update is not None:
        update.set_counters(counters)
        theirs = Outcome(whole(), changed)
    else:
        loss, gradients = differentiate(), step.gradients()
        theirs = Outcome(loss, [*gradients, *changed])
    differs = step.difference(ours, theirs)
    counts = step.rounds and differs is None
    if counts:
        with torch.no_grad():
            for tensor, content in zip(changed, after, strict=True):
                tensor.copy_(content)
    loss = (ours if counts else theirs).loss
    if update is None:
        zero_grads(step.trained)
        loss = step.move(loss, found[1] if counts else gradients, optim)
    return loss, differs
