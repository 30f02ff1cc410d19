"""Gradients of which none is far larger than usual: each tensor's is cut by its own running mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_impl.torch_private import each
from twinplate.training.step_size import MEMORY, SETTLED


class Clip:
    """What is known of the gradients of tensors, and the cut that it decides on.

    most: times its usual size that a gradient may have.
    leaves: whose gradients are cut; by default all.

    Of each leaf five numbers are kept, in one tensor that is changed in place: the running
    mean of the squared norm, which starts at zero; the weight of all steps in it, 1 - βⁿ; n, the number of
    steps; how many times its usual size a gradient was at most; and the step, counted from 0, of that.
    """

    def __init__(self, most: float, leaves: Iterable[Tensor] | None = None) -> None:
        self.most = most
        self._leaves = None if leaves is None else frozenset(leaves)
        self._known: dict[Tensor, Tensor] = {}
        # The same memory, by the leaf's id, which stays its own while `_known` holds the leaf. Five numbers
        # are read and written through it in a tenth of the time that a tensor takes, in every step.
        self._memory: dict[int, memoryview[float]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"most": self.most, "_leaves": self._leaves, "_known": self._known}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _memory={})

    def of(self, leaf: Tensor) -> Tensor:
        """The five numbers of a leaf."""
        if leaf not in self._known:
            self._known[leaf] = torch.zeros(5, dtype=torch.float64, device=leaf.device)
        return self._known[leaf]

    def __contains__(self, leaf: Tensor) -> bool:
        return leaf in self._known

    def is_cut(self, leaf: Tensor) -> bool:
        """Whether gradients of this leaf are."""
        return self._leaves is None or leaf in self._leaves

    @property
    def numbers(self) -> list[Tensor]:
        """All that is kept."""
        return list(self._known.values())

    def largest(self, leaves: Sequence[Tensor]) -> Tensor:
        """Of each of L leaves the last two numbers, (L, 2)."""
        return torch.stack([self.of(leaf)[3:] for leaf in leaves])

    @torch.no_grad()
    def follow_moments(self, variances: dict[Tensor, Tensor], step: int) -> None:
        """After `step` steps of Adam: the sum of its second moments is the running mean of squared norms."""
        for leaf, variance in variances.items():
            if not self.is_cut(leaf):
                continue
            known = self.of(leaf)
            known.zero_()
            known[0], known[1], known[2] = variance.sum(), 1 - MEMORY**step, step

    def cut_leaves(self, leaves: Sequence[Tensor]) -> None:
        """Cut the gradients that are in the leaves; where a loss no longer reaches a leaf, that is zero."""
        for leaf in leaves:
            if leaf.grad is None and leaf in self:
                leaf.grad = leaf.detach().new_zeros(leaf.shape)
        trained = {leaf: leaf.grad for leaf in leaves if leaf.grad is not None}
        for leaf, gradient in zip(trained, self.cut([*trained], [*trained.values()]), strict=True):
            leaf.grad = gradient

    def cut(self, leaves: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """The gradients of the leaves, each at most `most` times its usual size.

        The usual size of a leaf's gradient is the root of the running mean of its squared norm, in which a
        gradient counts as it was cut. Without a step before, or with none but zeros, nothing is cut.

        On a CPU Python looks at the norms, so that only a gradient that is cut is multiplied.
        """
        where = self._where(leaves)
        if not where or gradients[where[0]].device.type != "cpu":
            return self.cut_in_graph(leaves, gradients)
        found = list(gradients)
        for n, norm in zip(where, each.norm([gradients[n] for n in where]), strict=True):
            share = self._share(leaves[n], norm.item())
            if share != 1:
                found[n] = gradients[n] * share
        return found

    def _share(self, leaf: Tensor, norm: float) -> float:
        """What is kept of a gradient of this norm, which is taken into account."""
        numbers = self._memory.get(id(leaf))
        if numbers is None:
            view: Any = self.of(leaf).numpy().data
            numbers = self._memory[id(leaf)] = view
        square, weight, steps, largest, _ = numbers
        squared, times, counted = norm * norm, 0.0, norm * norm
        if square > 0:
            usual = square / weight
            times = math.sqrt(squared / usual)
            counted = min(squared, self.most**2 * usual)
        if steps >= SETTLED and times > largest:
            numbers[3], numbers[4] = times, steps
        numbers[0] = MEMORY * square + (1 - MEMORY) * counted
        numbers[1] = MEMORY * weight + (1 - MEMORY)
        numbers[2] = steps + 1
        return 1.0 if times <= self.most else 1 / (times / self.most)

    @torch.no_grad()
    def cut_in_graph(self, leaves: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """As `cut`, by operations on tensors alone, which machine code and an accelerator need."""
        found = list(gradients)
        if where := self._where(leaves):
            cut = self._all_in_graph([leaves[n] for n in where], [gradients[n] for n in where])
            for n, gradient in zip(where, cut, strict=True):
                found[n] = gradient
        return found

    def _where(self, leaves: Sequence[Tensor]) -> Sequence[int]:
        """The places of those that are cut."""
        if self._leaves is None:
            return range(len(leaves))
        return [n for n, leaf in enumerate(leaves) if leaf in self._leaves]

    def _all_in_graph(self, leaves: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
        squares = norms.double().square()
        known = torch.stack([self.of(leaf) for leaf in leaves])
        square, weight, steps, largest, at = known.unbind(-1)
        is_known = square > 0
        usual = square / weight.where(is_known, torch.ones_like(weight))
        times = (squares / usual.where(is_known, torch.full_like(usual, torch.inf))).sqrt()
        kept = 1 / (times / self.most).clamp(min=1)
        counted = torch.minimum(squares, self.most**2 * usual).where(is_known, squares)
        is_larger = (steps >= SETTLED) & (times > largest)
        after = (
            MEMORY * square + (1 - MEMORY) * counted,
            MEMORY * weight + (1 - MEMORY),
            steps + 1,
            times.where(is_larger, largest),
            steps.where(is_larger, at),
        )
        for leaf, numbers in zip(leaves, torch.stack(after, -1).unbind(), strict=True):
            self.of(leaf).copy_(numbers)
        # A factor without dims leaves the type of what it multiplies, unless that has no dims either.
        parts = [
            k if g.ndim else k.to(g.dtype) for g, k in zip(gradients, kept.unbind(), strict=True)
        ]
        return [gradient * part for gradient, part in zip(gradients, parts, strict=True)]
