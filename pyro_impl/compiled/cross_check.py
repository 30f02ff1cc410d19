"""A step taken twice, eagerly and compiled, from the same state and random numbers.

The eager one comes first and is undone: where the two agree, the compiled one has happened, and nothing
shows that an eager one was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro.infer.util import zero_grads
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_impl.compiled.agreement import Outcome, give_back, same_draws
from pyro_impl.compiled.steps import Step, gradient_of


def whole_step_twice(
    step: Step, tensors: list[Tensor], optim: PyroOptim, eager_step: Callable[[], Any]
) -> tuple[Any, str | None]:
    """The loss of the step that counts, and in words what differs, or None.

    For a graph that holds the update. It keeps no gradients; the first moments after the step are compared
    in their place, which are linear in them.
    """
    update, written = step.update, step.graph.written
    assert update is not None
    before, counters = [t.clone() for t in written], update.counters()
    with same_draws():
        loss = eager_step()
    eager = Outcome(loss, [m.clone() for m in update.moments()])
    after = [t.clone() for t in written]
    give_back(written, before)
    update.set_counters(counters)
    compiled = Outcome(step.take(tensors, optim), update.moments())
    differs = step.comparison.difference(compiled, eager)
    if differs is None:
        return compiled.loss, None
    give_back(written, after)
    return eager.loss, differs


def gradients_twice(
    step: Step, tensors: list[Tensor], optim: PyroOptim, eager_loss: Callable[[], Any]
) -> tuple[Any, str | None]:
    """The same for a graph of loss and gradients: `optim` takes its step once, with those that count.

    eager_loss: computes the loss and leaves its gradients in the leaves.
    """
    before = [t.clone() for t in step.graph.written]
    with same_draws():
        loss = eager_loss()
    eager = Outcome(loss, [gradient_of(leaf).clone() for leaf in step.trained])
    zero_grads(step.trained)
    give_back(step.graph.written, before)
    loss, *gradients = step.run(*step.graph.tensors, *tensors)
    compiled = Outcome(loss, gradients)
    differs = step.comparison.difference(compiled, eager)
    chosen = compiled if differs is None else eager
    # Copies: an optimiser may clip gradients in place, and these may be views of memory that the graph uses.
    step.apply([gradient.clone() for gradient in chosen.gradients], optim)
    return chosen.loss, differs
