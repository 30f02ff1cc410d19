"""What a compiled step of an SVI is made of: its parameters, its optimiser, its graph; how it is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.util import zero_grads
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from pyro_impl.compiled.adam import AdamUpdate
from pyro_impl.compiled.agreement import Comparison
from pyro_impl.compiled.graph import Graph
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


@dataclass
class Parameters:
    """What an eager step trained: unconstrained leaves, those in Pyro's store by name too."""

    leaves: list[Tensor]
    stored: dict[str, Tensor]

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


@dataclass
class Step:
    """A compiled step: `run` returns the loss and updates the parameters, or returns the gradients too."""

    parameters: Parameters
    trained: list[Tensor]
    update: AdamUpdate | None
    graph: Graph
    run: Callable[..., Any]
    comparison: Comparison
    taken: int = 0

    def __post_init__(self) -> None:
        self._tensors = [*self.parameters.leaves, *self.graph.tensors]
        self._free = self._now_free()

    def take(self, tensors: list[Tensor], optim: PyroOptim) -> Tensor:
        """Move the parameters and the optimiser on by one step; its loss, which need not be waited for.

        tensors: those of the arguments.  optim: takes the step where the graph does not hold the update.
        """
        if self.update is not None:
            return self.run(*self.graph.tensors, self.update.advance(), *tensors)
        loss, *gradients = self.run(*self.graph.tensors, *tensors)
        self.apply(gradients, optim)
        return loss

    def apply(self, gradients: list[Tensor], optim: PyroOptim) -> None:
        """Have `optim` take its step with these gradients, as `SVI.step` has it."""
        for leaf, gradient in zip(self.trained, gradients, strict=True):
            leaf.grad = gradient
        optim(self.trained)
        zero_grads(self.trained)

    def is_frozen_otherwise(self) -> bool:
        """Whether a tensor that the graph reads was frozen or unfrozen since."""
        return self._now_free() != self._free

    def _now_free(self) -> list[bool]:
        return [tensor.requires_grad for tensor in self._tensors]


def leaves_of(trace: poutine.Trace) -> list[Tensor]:
    """Unconstrained parameters of a trace, each once."""
    nodes: dict[str, Any] = trace.nodes
    leaves = [site["value"].unconstrained() for site in nodes.values()]
    return list({id(leaf): leaf for leaf in leaves}.values())


def gradients_of(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Of the loss by the leaves; zero by a frozen one, which Pyro's optimisers go on moving."""
    free = [leaf for leaf in leaves if leaf.requires_grad]
    found = iter(torch.autograd.grad(loss, free, materialize_grads=True) if free else ())
    return [next(found) if leaf.requires_grad else torch.zeros_like(leaf) for leaf in leaves]


def gradient_of(leaf: Tensor) -> Tensor:
    """That of a leaf that has one."""
    assert leaf.grad is not None
    return leaf.grad
