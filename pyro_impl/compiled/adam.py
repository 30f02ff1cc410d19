"""Adam and Pyro's ClippedAdam as operations of a graph, on the state of the optimisers themselves.

Learning rates, decay rates of the moments, and the bias corrections that the number of steps decides,
enter the graph as numbers of its input: a schedule, which may cycle both rates, needs no other graph.
Everything else about an optimiser is fixed in the graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.optim import PyroOptim
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor
from torch.optim import Adam, Optimizer

from pyro_impl.compiled.guarded_places import Place
from pyro_impl.torch_private import add_each_, has_hooks

FIXED = ("eps", "weight_decay", "clip_norm", "centered_variance")
NUMBERS = 5  # for each row
UNUSUAL = ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay")


@dataclass
class Row:
    """Leaves whose optimisers agree in everything, the rates and the number of steps included."""

    group: dict[str, Any]
    groups: list[dict[str, Any]] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)


class AdamUpdate:
    """The updates of `leaves` by their optimisers, which have already taken a step.

    `AdamUpdate.of(optim, leaves)` is None where an optimiser is another one, or has options or hooks that
    the graph does not know.
    """

    def __init__(self, rows: list[Row], optimizers: list[Optimizer]) -> None:
        self.rows = rows
        self._counted = [s for row in rows for s in row.states]
        # Leaves of one group are in several rows where their numbers of steps differ.
        self._groups = list({id(g): g for row in rows for g in row.groups}.values())
        # Counted in the graph where they are tensors beside the parameters, else here.
        self._tensors = [
            s["step"]
            for row in rows
            for leaf, s in zip(row.leaves, row.states, strict=True)
            if isinstance(s["step"], Tensor) and s["step"].device != leaf.device
        ]
        self._places = [
            *(Place("{}", vars(o), ("state", "param_groups")) for o in optimizers),
            *(Place("{}", g, tuple(k for k in FIXED if k in g)) for g in self._groups),
            *(Place("{}", s, ("exp_avg", "exp_avg_sq")) for s in self._counted),
        ]

    @classmethod
    def of(cls, optim: PyroOptim | Optimizer, leaves: Sequence[Tensor]) -> AdamUpdate | None:
        """The update of these leaves; each has a gradient in every step."""
        rows: dict[Any, Row] = {}
        optimizers: dict[int, Optimizer] = {}
        for leaf in leaves:
            optimizer = optimizer_of(optim, leaf)
            if optimizer is None or not _is_plain(optimizer):
                return None
            group = next(g for g in optimizer.param_groups if any(p is leaf for p in g["params"]))
            state = optimizer.state.get(leaf)
            if any(group.get(option) for option in UNUSUAL) or not state:
                return None
            optimizers[id(optimizer)] = optimizer
            fixed = tuple(group.get(k) for k in FIXED)
            rates = float(group["lr"]), tuple(map(float, group["betas"])), group.get("lrd")
            key = type(optimizer), fixed, rates, int(state["step"])
            row = rows.setdefault(key, Row(group))
            row.leaves.append(leaf)
            row.states.append(state)
            if not any(g is group for g in row.groups):
                row.groups.append(group)
        return cls(list(rows.values()), list(optimizers.values()))

    def is_current(self, counted: bool) -> bool:
        """Whether the optimisers still have the state and options that the graph holds.

        counted: whether steps were taken elsewhere, so that their numbers have to agree once more.
        """
        if not all(place.is_same() for place in self._places):
            return False
        for row in self.rows:
            rate, betas = row.group["lr"], row.group["betas"]
            if any(g["lr"] != rate or g["betas"] != betas for g in row.groups):
                return False
            if counted and len({int(state["step"]) for state in row.states}) > 1:
                return False
        return True

    def advance(self) -> Tensor:
        """Count one step; its numbers for `apply`, NUMBERS for each row.

        They are: step size, divisor of √variance, 1 - β₁, β₂, 1 - β₂.
        """
        for group in self._groups:
            if "lrd" in group:
                group["lr"] *= group["lrd"]
        found = []
        for row in self.rows:
            step, rate = int(row.states[0]["step"]) + 1, float(row.group["lr"])
            beta1, beta2 = map(float, row.group["betas"])
            root = math.sqrt(1 - beta2**step)
            size = rate / (1 - beta1**step)
            sizes = [size * root, 1.0] if "lrd" in row.group else [size, root]
            found += [*sizes, 1 - beta1, beta2, 1 - beta2]
            if not isinstance(row.states[0]["step"], Tensor):
                for state in row.states:
                    state["step"] += 1
        if self._tensors:
            add_each_(self._tensors, 1.0)
        return self._on_device(found)

    def stand_in(self) -> Tensor:
        """Of the shape, type and device of what `advance` returns, for a capture; nothing is counted."""
        return self._on_device([1.0] * NUMBERS * len(self.rows))

    def _on_device(self, numbers: list[float]) -> Tensor:
        device = self.rows[0].leaves[0].device
        # From pinned memory a GPU copies by itself; otherwise Python would wait for all steps before.
        found = torch.tensor(numbers, dtype=torch.float64, pin_memory=device.type == "cuda")
        return found.to(device, non_blocking=True)

    def counters(self) -> list[Any]:
        """Numbers of steps and learning rates, to be given back to `set_counters`."""
        return [[int(s["step"]) for s in self._counted], [g["lr"] for g in self._groups]]

    def set_counters(self, counters: list[Any]) -> None:
        """Undo `advance`."""
        for state, step in zip(self._counted, counters[0], strict=True):
            if isinstance(state["step"], Tensor):
                state["step"].fill_(step)
            else:
                state["step"] = step
        for group, rate in zip(self._groups, counters[1], strict=True):
            group["lr"] = rate

    def moments(self) -> list[Tensor]:
        """First moments, leaf by leaf: linear in the gradients."""
        return [state["exp_avg"] for state in self._counted]

    @torch.no_grad()
    def apply(self, numbers: Tensor, gradients: Sequence[Tensor]) -> None:
        """The update itself, Kingma and Ba (2015), algorithm 1; `numbers` as from `advance`."""
        waiting = iter(gradients)
        for row, of_row in zip(self.rows, numbers.split(NUMBERS), strict=True):
            for leaf, state in zip(row.leaves, row.states, strict=True):
                gradient = next(waiting)
                if "clip_norm" in row.group:
                    gradient = gradient.clamp(-row.group["clip_norm"], row.group["clip_norm"])
                if row.group["weight_decay"]:
                    gradient = gradient.add(leaf, alpha=row.group["weight_decay"])
                mean, variance, step = state["exp_avg"], state["exp_avg_sq"], state["step"]
                if isinstance(step, Tensor) and step.device == leaf.device:
                    step.add_(1)
                size, root, new1, beta2, new2 = of_row.to(leaf.dtype).unbind()
                mean.lerp_(gradient, new1)
                if row.group.get("centered_variance"):
                    gradient = gradient - mean
                variance.mul_(beta2).addcmul_(gradient * new2, gradient)
                leaf.sub_(size * (mean / ((variance.sqrt() / root).add_(row.group["eps"]))))

    @property
    def leaves(self) -> list[Tensor]:
        """In the order of `apply`'s gradients."""
        return [leaf for row in self.rows for leaf in row.leaves]


def optimizer_of(optim: PyroOptim | Optimizer, leaf: Tensor) -> Optimizer | None:
    """The torch optimiser that owns `leaf`; a PyroOptim has one for each. None if it has no plain one."""
    if isinstance(optim, Optimizer):
        owned = any(p is leaf for group in optim.param_groups for p in group["params"])
        return optim if owned else None
    if type(optim).__call__ is not PyroOptim.__call__ and not _only_schedules(optim):
        return None
    if optim.grad_clip.get(leaf) is not None:
        return None
    found = optim.optim_objs.get(leaf)
    return getattr(found, "optimizer", found)  # a scheduler holds its optimiser


def _only_schedules(optim: PyroOptim) -> bool:
    from pyro.optim.lr_scheduler import PyroLRScheduler

    return type(optim) is PyroLRScheduler


def _is_plain(optimizer: Optimizer) -> bool:
    return type(optimizer) in (Adam, ClippedAdam) and not has_hooks(optimizer)
