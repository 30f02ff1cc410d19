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

    whole: Pyro's step.  differentiate: its first half, which leaves gradients in the leaves; `optim` then
    takes its step once, with these, where it is no Adam that is known.
    """
    update, written, changed = step.update, step.graph.written, step.changed()
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
        loss = differentiate()
        gradients = [leaf.grad for leaf in step.trained if leaf.grad is not None]
        theirs = Outcome(loss, [*gradients, *written])
    differs = step.difference(ours, theirs)
    counts = step.rounds and differs is None
    if counts:
        for leaf, gradient in zip(step.trained, found[1], strict=False):  # none with an update
            leaf.grad = gradient
        with torch.no_grad():
            for tensor, content in zip(changed, after, strict=True):
                tensor.copy_(content)
    if update is None:
        if step.clip is not None:
            step.clip.cut_leaves(step.trained)
        optim(step.trained)
        zero_grads(step.trained)
    return (ours if counts else theirs).loss, differs
