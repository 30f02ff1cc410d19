"""What a compiled step of an SVI is made of: its parameters, its optimiser, its graph and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
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
