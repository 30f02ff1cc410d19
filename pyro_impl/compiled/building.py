"""A step that Pyro takes and that is recorded meanwhile; and what becomes of the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_impl.capturing import capturing
from pyro_impl.compiled.adam import AdamUpdate
from pyro_impl.compiled.agreement import Comparison, rewinding, rounding
from pyro_impl.compiled.cache_key import rebuilt
from pyro_impl.compiled.capture import Recorder, unchecked
from pyro_impl.compiled.cleaning import cleaned
from pyro_impl.compiled.compilation import Run, begin_compiling
from pyro_impl.compiled.differentiating import Differentiation
from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.generators import Draws
from pyro_impl.compiled.guards import Guards
from pyro_impl.compiled.lowering import Lowered, lowered
from pyro_impl.compiled.steps import CompiledStep, Parameters, Step, TorchOptim, named_leaves
from pyro_impl.torch_private import has_gradient_hooks


@dataclass
class Recording:
    """A step that has been taken but for its optimiser: its loss, and what is known of it.

    reason: why it cannot be repeated without the program; or nothing.  undo: makes what it has changed what
        it was, so that it was never taken.
    """

    loss: Any
    named: dict[str, Tensor]
    trained: list[Tensor]
    gradients: list[Tensor]
    recorder: Recorder
    reason: str
    undo: Callable[[], None]

    @property
    def leaves(self) -> list[Tensor]:
        """All that it has visited."""
        return [*self.named.values()]

    def step(self, parameters: Parameters, optim: PyroOptim, half: Differentiation) -> Step:
        """The same step for other numbers; `optim` has taken one with these leaves.

        half: says how gradients are reduced and cut.

        Raises CannotCompileError.
        """
        if self.reason or not self.trained:
            raise CannotCompileError(self.reason or "it has no parameters to train")
        of = optim.optimizer if isinstance(optim, TorchOptim) else optim
        update = AdamUpdate.of(of, self.trained)
        trained = self.trained if update is None else update.leaves
        gradients = {id(leaf): g for leaf, g in zip(self.trained, self.gradients, strict=True)}
        graph = self.recorder.finish(self.loss, [gradients[id(leaf)] for leaf in trained])
        return Step(parameters, trained, update, cleaned(graph), half.clip, half.reduction)


def record(
    differentiate: Callable[..., Any],
    arguments: tuple[Any, Any],
    tensors: list[Tensor],
    parameters: Parameters,
    guards: Guards,
    machine_code: bool,
) -> Recording:
    """Run `differentiate(*args, **kwargs)`, the first half of a step, which leaves gradients in the leaves.

    arguments: (args, kwargs), trees that hold `tensors`; later steps give others of the same shapes.
    parameters: all that an eager step has read.  guards: what the program reads besides.
    machine_code: the record is made for a compiler, which need not be that of the program to the bit.

    Raises CannotCompileError where nothing has happened.
    """
    # Aliases: what the program reads as an argument is told from what it reads elsewhere.
    aliases = {id(tensor): tensor.detach() for tensor in tensors}
    args, kwargs = rebuilt(arguments, aliases)
    recorder = Recorder([aliases[id(t)] for t in tensors], parameters.leaves)
    before = [leaf for leaf in parameters.leaves if leaf.grad is not None]
    draws, rewind = Draws(guards.generators), rewinding([])

    def undo() -> None:
        rewind()
        recorder.undo()
        guards.restore()
        draws.undo()
        had = {*map(id, before)}
        for leaf in parameters.leaves:
            leaf.grad = torch.zeros_like(leaf) if id(leaf) in had else None

    for leaf in before:
        leaf.grad = None  # or sums with it would be recorded
    try:
        with (
            poutine.trace(param_only=True) as found,
            unchecked(),
            capturing(machine_code),
            torch.enable_grad(),
            recorder,
        ):
            loss = _detached(differentiate(*args, **kwargs))
            for leaf in before:  # one that the loss does not reach any more goes on being moved
                leaf.grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    except BaseException as error:
        undo()
        if isinstance(error, CannotCompileError) or not isinstance(error, Exception):
            raise
        # An error of the program's own comes again in the eager step that follows.
        text = str(error).strip().splitlines() or [""]
        raise CannotCompileError(
            f"it cannot be recorded: {type(error).__name__}: {text[0]}"
        ) from error
    named = named_leaves(found.trace)
    leaves = [*named.values()]
    trained = [leaf for leaf in leaves if leaf.grad is not None]
    reason = _why_not(parameters, leaves, guards, draws)
    gradients = [leaf.grad for leaf in trained if leaf.grad is not None]
    return Recording(loss, named, trained, gradients, recorder, reason, undo)


def _why_not(parameters: Parameters, leaves: list[Tensor], guards: Guards, draws: Draws) -> str:
    """Why a step cannot be repeated that has left something behind, or nothing.

    A counter that Python moves on, or a number that it draws from its own or NumPy's generators, would stay
    in every later step what it was in this one.
    """
    if {*map(id, leaves)} != {*map(id, parameters.leaves)}:
        return "its parameters are others from one run to the next"
    if any(map(has_gradient_hooks, leaves)):
        return "a parameter has a hook, which looks at gradients"
    if (change := guards.change()) is not None:
        return f"it changes {change} as it runs"
    if draws.any():
        return "it draws from Python's or NumPy's random numbers, or from a generator of its own, not torch's"
    return ""


def _detached(loss: Any) -> Any:
    if isinstance(loss, tuple):
        return tuple(map(_detached, loss))
    return loss.detach() if isinstance(loss, Tensor) else loss


def begin_compiled(step: Step, tensors: list[Tensor]) -> Callable[[], CompiledStep]:
    """Begin to make machine code of the step, for arguments like `tensors`; what is returned waits for it.

    Both raise CannotCompileError.
    """
    update = step.update if step.is_whole else None
    inputs = [*([] if update is None else [update.stand_in()]), *tensors]
    low = lowered(step.graph, update, step.clip, inputs)
    return partial(_compiled, step, low, begin_compiling(low, inputs, step.changed()))


def _compiled(step: Step, low: Lowered, code: Callable[[], Run]) -> CompiledStep:
    return CompiledStep(
        *(step.parameters, step.trained, step.update, step.graph, step.clip, step.reduction),
        code=code(),
        lowered=low,
        comparison=Comparison(rounding(low.module.graph)),
    )
