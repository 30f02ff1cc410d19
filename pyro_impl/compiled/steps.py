"""A step that Pyro does not take: its parameters, its optimiser, its operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyro
import torch
from pyro import poutine
from pyro.infer.util import torch_item, zero_grads
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from pyro_impl.compiled.adam import AdamUpdate
from pyro_impl.compiled.agreement import Comparison, Outcome, same_bits
from pyro_impl.compiled.clipping import Clip
from pyro_impl.compiled.graph import Graph, mapped
from pyro_impl.compiled.lowering import Lowered
from pyro_impl.compiled.reducing import Reduction
from pyro_impl.compiled.replaying import Replay
from pyro_impl.torch_private import version
from twinplate.errors import InputError


class TorchOptim(PyroOptim):
    """A torch optimiser with the interface of `pyro.optim`; it owns its parameters."""

    def __init__(self, optimizer: Optimizer) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise InputError(
                "LBFGS takes the loss several times in a step, which no SVI does; give another optimiser"
            )
        super().__init__(type(optimizer), {})
        self.optimizer = optimizer

    def __call__(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.optimizer.step()


def to_pyros(optim: Any) -> Any:
    """An optimiser of torch as a `TorchOptim`, any other as it is."""
    return TorchOptim(optim) if isinstance(optim, Optimizer) else optim


@dataclass
class Parameters:
    """What an eager step trained: unconstrained leaves, those in Pyro's store by name too."""

    leaves: list[Tensor]
    stored: dict[str, Tensor]
    # Gradients that were seen to be zero, held so that no other tensor gets their place, and their versions.
    _clear: list[tuple[Tensor | None, int]] = field(default_factory=list)

    @classmethod
    def of(cls, trace: poutine.Trace, optim: PyroOptim) -> Parameters:
        """Those of an eager step's trace. Raises InputError where a torch optimiser lacks one of them."""
        leaves, store = leaves_of(trace), pyro.get_param_store()
        stored = {name: leaf for leaf in leaves if (name := store.param_name(leaf)) is not None}
        if isinstance(optim, TorchOptim):
            owned = {id(p) for g in optim.optimizer.param_groups for p in g["params"]}
            lacking = [n for n, leaf in stored.items() if id(leaf) not in owned]
            if lacking:
                raise InputError(
                    f"the torch optimiser does not hold the parameters {', '.join(lacking)}; expected all "
                    "that model and guide use: run them once before it is made, or give one of pyro.optim"
                )
        return cls(leaves, stored)

    def missing(self) -> str | None:
        """The first name under which the store now has another leaf, or none."""
        now = pyro.get_param_store()._params  # its public view has no look-up by name
        return next((n for n, leaf in self.stored.items() if now.get(n) is not leaf), None)

    def have_gradients(self) -> bool:
        """Whether somebody has left gradients in the leaves, to which Pyro adds those of its next step."""
        now = [(g, 0 if g is None else version(g)) for g in (leaf.grad for leaf in self.leaves)]
        pairs = zip(now, self._clear, strict=False)
        if self._clear and all(g is old and n == m for (g, n), (old, m) in pairs):
            return False
        if any(g is not None and bool(g.any()) for g, _ in now):
            return True
        self._clear = now
        return False

    def named(self, leaf: Tensor) -> str:
        """The parameter in the user's words."""
        names = (n for n, stored in self.stored.items() if stored is leaf)
        return f"parameter {next(names, tuple(leaf.shape))!r}"


@dataclass
class Step:
    """A recorded step, replayed. Its result is that of the program to the bit.

    trained: leaves by which it has gradients, in the order of `update` where that is there.
    reduction: adds up losses and gradients of several processes.  clip: cuts the gradients before they move
        anything.  begun: waits for machine code of the same step, where some is being made.
    """

    parameters: Parameters
    trained: list[Tensor]
    update: AdamUpdate | None
    graph: Graph
    clip: Clip | None = None
    reduction: Reduction | None = None
    taken: int = 0
    begun: Callable[[], CompiledStep] | None = None
    compiled: CompiledStep | None = None  # once it has been waited for
    rounds: ClassVar[bool] = False  # whether its numbers are the program's but for rounding

    def __post_init__(self) -> None:
        self._replay = Replay(self.graph)
        # Of parameters held whole a change is an error of theirs; of other tensors, of what is read.
        self._tensors = [*self.parameters.leaves, *self.graph.held.values()]
        self._free = self._now_free()

    def differentiated(self, tensors: list[Tensor]) -> tuple[Any, list[Tensor]] | None:
        """Loss and gradients; None where a size or a number is another one, so that nothing has happened."""
        return self._replay(tensors)

    def take(self, tensors: list[Tensor], optim: PyroOptim) -> Any:
        """Move the parameters and the optimiser on by one step; its loss, which need not be waited for.

        tensors: those of the arguments.  optim: takes the step where there is no `update`. None as for
        `differentiated`.
        """
        found = self.differentiated(tensors)
        if found is None:
            return None
        return self.move(*found, optim)

    def move(self, loss: Any, gradients: list[Tensor], optim: PyroOptim) -> Any:
        """The second half of a step, from its loss and gradients by `trained`; the loss of all processes."""
        trained = self.trained
        if self.reduction is not None:
            loss, summed = self.reduction(loss, dict(zip(trained, gradients, strict=True)))
            if summed.keys() != set(trained):  # another process has a gradient by one more
                trained = [*summed]
            gradients = [summed[leaf] for leaf in trained]
        if self.clip is not None:
            gradients = self.clip.cut(trained, gradients)
        if self.update is not None and trained is self.trained:
            self.update.take(gradients)
            return loss
        for leaf, gradient in zip(trained, gradients, strict=True):
            leaf.grad = gradient
        optim(trained)
        zero_grads(trained)
        return loss

    def gradients(self) -> list[Tensor]:
        """Those that are in the leaves: zero where the loss no longer reaches one."""
        return [torch.zeros_like(t) if t.grad is None else t.grad for t in self.trained]

    @property
    def is_whole(self) -> bool:
        """Whether the step, Adam included, is one of this process alone, and is compared as a whole."""
        return self.update is not None and self.reduction is None

    @property
    def sizes(self) -> list[Tensor]:
        """What is known of the usual size of each gradient, if they are cut."""
        return [] if self.clip is None else [self.clip.of(leaf) for leaf in self._cut]

    @property
    def _cut(self) -> list[Tensor]:
        """Leaves whose gradients are cut."""
        return [t for t in self.trained if self.clip is not None and self.clip.is_cut(t)]

    def changed(self) -> list[Tensor]:
        """All tensors that a whole step, or the first half of another one, writes into."""
        if self.update is None or not self.is_whole:
            return self.graph.written
        return [*self.update.changed(), *self.sizes, *self.graph.written]

    @property
    def moved(self) -> str:
        """The user's line that needs what was another one in the last step, in brackets; or nothing."""
        return self._replay.moved

    def difference(self, ours: Outcome, theirs: Outcome) -> str | None:
        """What is not the same in a step taken twice, in words."""
        for found, expected in zip(*map(_losses, (ours.loss, theirs.loss)), strict=True):
            if found != expected and not (found != found and expected != expected):
                return f"the loss of the replayed step is {found!r} and that of Pyro's own {expected!r}"
        names = [*map(self.parameters.named, self.trained)]
        if self.is_whole:
            cut = map(self.parameters.named, self._cut)
            known = [f"usual size of the gradient of {name}" for name in cut]
            names = [*names, *(f"Adam's state of {name}" for name in 2 * names), *known]
        else:
            names = [f"gradient of {name}" for name in names]
        names += ["content of a tensor that it writes into"] * len(self.graph.written)
        for name, found, expected in zip(names, ours.tensors, theirs.tensors, strict=True):
            if not same_bits(found, expected):
                return f"the {name} after the replayed step is not the one after Pyro's own"
        return None

    def is_frozen_otherwise(self) -> bool:
        """Whether a tensor that the step reads was frozen or unfrozen since."""
        return self._now_free() != self._free

    def _now_free(self) -> list[bool]:
        return [tensor.requires_grad for tensor in self._tensors]


@dataclass
class CompiledStep(Step):
    """The same as machine code, which contains `update`. Its result differs by rounding."""

    rounds: ClassVar[bool] = True
    code: Callable[..., Any] | None = None
    lowered: Lowered | None = None
    comparison: Comparison | None = None

    def differentiated(self, tensors: list[Tensor]) -> tuple[Any, list[Tensor]]:
        """Loss and gradients, for a step that is not whole."""
        assert self.code is not None and self.lowered is not None
        found = iter(self.code(*self.lowered.tensors, *tensors))
        return self._loss(found), [*found]

    def take(self, tensors: list[Tensor], optim: PyroOptim) -> Any:
        """As of a replayed step."""
        if self.update is None or not self.is_whole:
            return super().take(tensors, optim)
        assert self.code is not None and self.lowered is not None
        numbers = self.update.advance()
        found = self.code(*self.lowered.tensors, numbers, *tensors)
        self.update.settle()
        return self._loss(iter(found))

    def _loss(self, found: Iterator[Tensor]) -> Any:
        return mapped(self.graph.losses, lambda _: next(found))

    def difference(self, ours: Outcome, theirs: Outcome) -> str | None:
        """What differs by more than rounding. First moments are linear in gradients."""
        assert self.comparison is not None
        one = len(self.trained)
        of = slice(one, 2 * one) if self.is_whole else slice(one)
        mine, others = (Outcome(sum(_losses(o.loss)), o.tensors[of]) for o in (ours, theirs))
        names = [*map(self.parameters.named, self.trained)]
        return self.comparison.difference(mine, others, names)


def _losses(loss: Any) -> tuple[float, ...]:
    return tuple(map(torch_item, loss if isinstance(loss, tuple) else (loss,)))


def named_leaves(trace: poutine.Trace) -> dict[str, Tensor]:
    """Unconstrained parameters of a trace, each once, by the name of their first site."""
    nodes: dict[str, Any] = trace.nodes
    leaves = [(name, site["value"].unconstrained()) for name, site in nodes.items()]
    first = {id(leaf): name for name, leaf in reversed(leaves)}
    return {name: leaf for name, leaf in leaves if first[id(leaf)] == name}


def leaves_of(trace: poutine.Trace) -> list[Tensor]:
    """Unconstrained parameters of a trace, each once."""
    return [*named_leaves(trace).values()]
