"""From a program and its arguments to a compiled step: captured, checked for traces, compiled."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from pyro import poutine
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_impl.compiled.adam import AdamUpdate
from pyro_impl.compiled.agreement import Comparison, rounding
from pyro_impl.compiled.cache_key import rebuilt
from pyro_impl.compiled.clipping import Clip
from pyro_impl.compiled.compilation import compile_graph
from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.graph import Graph
from pyro_impl.compiled.guards import Guards
from pyro_impl.compiled.steps import Parameters, Step, TorchOptim, gradients_of, leaves_of
from pyro_impl.compiled.tracing import capture


def build_step(
    loss: Callable[..., Tensor],
    arguments: tuple[Any, Any],
    tensors: list[Tensor],
    parameters: Parameters,
    optim: PyroOptim,
    guards: Guards,
    clip: Clip | None = None,
) -> Step:
    """A step that minimises `loss(*args, **kwargs)`.

    arguments: (args, kwargs), trees that hold `tensors`; later steps give others of the same shapes.
    parameters: all that the loss reads; those that have a gradient now are trained by `optim`.
    guards: what the program reads besides; a capture that changes any of it is undone and refused.
    clip: of the gradients; without it nothing is cut.

    Raises CannotCompileError.
    """
    # Pyro's optimisers leave a leaf without a gradient alone, so the graph leaves it out.
    trained = [leaf for leaf in parameters.leaves if leaf.grad is not None]
    update = AdamUpdate.of(optim.optimizer if isinstance(optim, TorchOptim) else optim, trained)
    trained = trained if update is None else update.leaves
    if not trained:
        raise CannotCompileError("it has no parameters to train")
    if clip is not None:
        clip.largest(trained)  # whose numbers are there before they are captured
    traced = _step_to_trace(loss, arguments, parameters, trained, update, clip)
    inputs = [*([] if update is None else [update.stand_in()]), *tensors]
    graph = _capture_pure(guards, traced, inputs)
    comparison = Comparison(rounding(graph.module.graph))
    return Step(parameters, trained, update, graph, compile_graph(graph, inputs), comparison)


def _step_to_trace(
    loss: Callable[..., Tensor],
    arguments: tuple[Any, Any],
    parameters: Parameters,
    trained: list[Tensor],
    update: AdamUpdate | None,
    clip: Clip | None,
) -> Callable[..., Any]:
    """What the graph computes: the loss, and the update of the parameters or their gradients."""
    known = {id(leaf) for leaf in parameters.leaves}

    def step(*inputs: Tensor) -> Any:
        waiting = iter(inputs)
        numbers = next(waiting) if update else None
        args, kwargs = rebuilt(arguments, waiting.__next__)
        with poutine.trace(param_only=True) as found:
            value = loss(*args, **kwargs)
        # A program that picks its parameters anew in each run would have those of this run in the graph.
        if {id(leaf) for leaf in leaves_of(found.trace)} != known:
            raise CannotCompileError("its parameters are others from one run to the next")
        gradients = gradients_of(value, trained)
        if clip is not None:
            gradients = clip.clipped(trained, gradients)
        if update is None or numbers is None:
            return (value.detach(), *gradients)
        update.apply(numbers, gradients)
        return value.detach()

    return step


def _capture_pure(guards: Guards, function: Callable[..., Any], inputs: list[Tensor]) -> Graph:
    """The graph of a program that leaves nothing behind but what the graph itself does.

    Python runs once, here: a counter that it moves on, or a number that it draws from Python's or NumPy's
    generators, would stay in every later step what it was in this one.
    """
    draws = random.getstate(), np.random.get_state()
    try:
        graph = capture(function, inputs)
        change = guards.change()
        drew = str(draws) != str((random.getstate(), np.random.get_state()))
    finally:
        # The eager steps that follow a refusal must not see that a capture was tried.
        guards.restore()
        random.setstate(draws[0])
        np.random.set_state(draws[1])
    if change is not None:
        raise CannotCompileError(f"it changes {change} as it runs")
    if drew:
        raise CannotCompileError("it draws from Python's or NumPy's random numbers, not torch's")
    return graph
