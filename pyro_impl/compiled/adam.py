"""Adam and Pyro's ClippedAdam on many leaves at once, on the state of the optimisers themselves.

After a replay the leaves move as by their optimisers, to the bit. In machine code the update is part of the
graph: learning rates, decay rates of the moments, and the bias corrections that the number of steps decides,
enter it as numbers of its input: a schedule, which may cycle both rates, needs no other graph.
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

from pyro_impl.compiled.guarded_places import GuardedPlace
from pyro_impl.torch_private import each, has_hooks, version

FIXED = ("eps", "weight_decay", "clip_norm", "centered_variance")
NUMBERS = 5  # for each part
# Options of torch's Adam that change the formula; with any of them the optimiser takes the step itself.
UNUSUAL = ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay", "fused")


@dataclass
class UpdatePart:
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

    def __init__(self, parts: list[UpdatePart], optimizers: list[Optimizer]) -> None:
        self.parts = parts
        self._counted = [s for part in parts for s in part.states]
        # Leaves of one group are in several parts where their numbers of steps differ.
        self._groups = list({id(g): g for part in parts for g in part.groups}.values())
        # Numbers of steps that are counted here. Those on a GPU, beside the parameters, the graph counts: to
        # read one here would mean to wait for all steps before.
        self._tensors = [
            s["step"]
            for part in parts
            for leaf, s in zip(part.leaves, part.states, strict=True)
            if isinstance(s["step"], Tensor) and s["step"].device != leaf.device
        ]
        self._counts = [s["step"] for s in self._counted if isinstance(s["step"], Tensor)]
        self.settle()
        self._places = [
            *(GuardedPlace("{}", vars(o), ("state", "param_groups")) for o in optimizers),
            *(GuardedPlace("{}", g, tuple(k for k in FIXED if k in g)) for g in self._groups),
            *(GuardedPlace("{}", s, ("exp_avg", "exp_avg_sq")) for s in self._counted),
        ]

    @classmethod
    def of(cls, optim: PyroOptim | Optimizer, leaves: Sequence[Tensor]) -> AdamUpdate | None:
        """The update of these leaves; each has a gradient in every step."""
        parts: dict[Any, UpdatePart] = {}
        optimizers: dict[int, Optimizer] = {}
        for leaf in leaves:
            optimizer = optimizer_of(optim, leaf)
            if optimizer is None or not _is_plain(optimizer):
                return None
            group = next(g for g in optimizer.param_groups if any(p is leaf for p in g["params"]))
            state = optimizer.state.get(leaf)
            unusual = any(group.get(option) for option in UNUSUAL)
            if unusual or leaf.is_complex() or not state:
                return None
            optimizers[id(optimizer)] = optimizer
            fixed = tuple(group.get(k) for k in FIXED)
            rates = float(group["lr"]), tuple(map(float, group["betas"])), group.get("lrd")
            # Pyro has an optimiser for each leaf: leaves that go together share their five numbers.
            key = type(optimizer), fixed, rates, int(state["step"])
            part = parts.setdefault(key, UpdatePart(group))
            part.leaves.append(leaf)
            part.states.append(state)
            if not any(g is group for g in part.groups):
                part.groups.append(group)
        return cls(list(parts.values()), list(optimizers.values()))

    def is_current(self, counted: bool) -> bool:
        """Whether the optimisers still have the state and options that the graph holds.

        counted: whether steps were taken elsewhere, so that their numbers have to agree once more. Whoever
            else has the same optimisers may have taken some too, by a few of the leaves.
        """
        if not all(place.is_same() for place in self._places):
            return False
        counted = counted or [*map(version, self._counts)] != self._settled
        for part in self.parts:
            rate, betas = part.group["lr"], part.group["betas"]
            if any(g["lr"] != rate or g["betas"] != betas for g in part.groups):
                return False
            are_tensors = isinstance(part.states[0]["step"], Tensor)
            if (counted or not are_tensors) and len({int(s["step"]) for s in part.states}) > 1:
                return False
        return True

    def advance(self) -> Tensor:
        """Count one step; its numbers for `apply`, NUMBERS for each part.

        They are: step size, divisor of √variance, 1 - β₁, β₂, 1 - β₂.
        """
        self._decay_rates()
        found = []
        for part in self.parts:
            step, rate = int(part.states[0]["step"]) + 1, float(part.group["lr"])
            beta1, beta2 = map(float, part.group["betas"])
            root = math.sqrt(1 - beta2**step)
            size = rate / (1 - beta1**step)
            # Pyro's ClippedAdam adds eps before the bias correction, torch's Adam after it.
            sizes = [size * root, 1.0] if "lrd" in part.group else [size, root]
            found += [*sizes, 1 - beta1, beta2, 1 - beta2]
            if not isinstance(part.states[0]["step"], Tensor):
                for state in part.states:
                    state["step"] += 1
        if self._tensors:
            each.add_(self._tensors, 1.0)
        return self._on_device(found)

    def _decay_rates(self) -> None:
        for group in self._groups:
            if "lrd" in group:
                group["lr"] *= group["lrd"]

    @torch.no_grad()
    def take(self, gradients: Sequence[Tensor]) -> None:
        """Count one step and move the leaves: the operations of both optimisers, in their order."""
        self._decay_rates()
        waiting = iter(gradients)
        for part in self.parts:
            of_part, states, group = [next(waiting) for _ in part.leaves], part.states, part.group
            if isinstance(states[0]["step"], Tensor):
                each.add_([state["step"] for state in states], 1.0)
            else:
                for state in states:
                    state["step"] += 1
            step, (beta1, beta2) = int(states[0]["step"]), map(float, group["betas"])
            corrections, clipped = (1 - beta1**step, 1 - beta2**step), "lrd" in group
            means, variances = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
            if clipped:
                of_part = each.clamp_min(of_part, -group["clip_norm"])
                each.clamp_max_(of_part, group["clip_norm"])
            if group["weight_decay"]:
                of_part = each.add(of_part, part.leaves, alpha=group["weight_decay"])
            if clipped:
                each.mul_(means, beta1)
                each.add_(means, of_part, alpha=1 - beta1)
            else:
                each.lerp_(means, of_part, 1 - beta1)
            if group.get("centered_variance"):
                of_part = each.sub(of_part, means)
            each.mul_(variances, beta2)
            each.addcmul_(variances, of_part, of_part, 1 - beta2)
            divisors, size = each.sqrt(variances), float(group["lr"])
            if clipped:
                size = size * math.sqrt(corrections[1]) / corrections[0]
            else:
                size = size / corrections[0]
                each.div_(divisors, corrections[1] ** 0.5)
            each.add_(divisors, group["eps"])
            each.addcdiv_(part.leaves, means, divisors, -size)
        self.settle()

    def settle(self) -> None:
        """Know the numbers of steps as those that a step of this update has left."""
        self._settled = [*map(version, self._counts)]

    def stand_in(self) -> Tensor:
        """Of the shape, type and device of what `advance` returns, for a capture; nothing is counted."""
        return self._on_device([1.0] * NUMBERS * len(self.parts))

    def _on_device(self, numbers: list[float]) -> Tensor:
        device = self.parts[0].leaves[0].device
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

    def changed(self) -> list[Tensor]:
        """All that a step writes into but the counters: leaves, then first and second moments."""
        return [*self.leaves, *self.moments(), *(s["exp_avg_sq"] for s in self._counted)]

    @torch.no_grad()
    def apply(self, numbers: Tensor, gradients: Sequence[Tensor]) -> None:
        """The update itself, Kingma and Ba (2015), algorithm 1; `numbers` as from `advance`."""
        waiting = iter(gradients)
        for part, of_part in zip(self.parts, numbers.split(NUMBERS), strict=True):
            for leaf, state in zip(part.leaves, part.states, strict=True):
                gradient = next(waiting)
                if "clip_norm" in part.group:
                    gradient = gradient.clamp(-part.group["clip_norm"], part.group["clip_norm"])
                if part.group["weight_decay"]:
                    gradient = gradient.add(leaf, alpha=part.group["weight_decay"])
                mean, variance, step = state["exp_avg"], state["exp_avg_sq"], state["step"]
                if isinstance(step, Tensor) and step.device == leaf.device:
                    step.add_(1)
                size, root, new1, beta2, new2 = of_part.to(leaf.dtype).unbind()
                mean.lerp_(gradient, new1)
                if part.group.get("centered_variance"):
                    gradient = gradient - mean
                variance.mul_(beta2).addcmul_(gradient * new2, gradient)
                leaf.sub_(size * (mean / ((variance.sqrt() / root).add_(part.group["eps"]))))

    @property
    def leaves(self) -> list[Tensor]:
        """In the order of `apply`'s gradients."""
        return [leaf for part in self.parts for leaf in part.leaves]


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
