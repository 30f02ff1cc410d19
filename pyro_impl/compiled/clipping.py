"""Gradients of which none is far larger than usual: each tensor's is cut by its own running mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from twinplate.training.step_size import MEMORY, SETTLED


class Clip:
    """What is known of the gradients of tensors, and the cut that it decides on.

    most: times its usual size that a gradient may have.

    Of each leaf five numbers are kept, in one tensor that is changed in place, in a graph too: the running
    mean of the squared norm, which starts at zero; the weight of all steps in it, 1 - βⁿ; n, the number of
    steps; how many times its usual size a gradient was at most; and the step, counted from 0, of that.
    """

    def __init__(self, most: float) -> None:
        self.most = most
        self._known: dict[Tensor, Tensor] = {}

    def of(self, leaf: Tensor) -> Tensor:
        """The five numbers of a leaf."""
        if leaf not in self._known:
            self._known[leaf] = torch.zeros(5, dtype=torch.float64, device=leaf.device)
        return self._known[leaf]

    def __contains__(self, leaf: Tensor) -> bool:
        return leaf in self._known

    @property
    def numbers(self) -> list[Tensor]:
        """All that is kept."""
        return list(self._known.values())

    def largest(self, leaves: Sequence[Tensor]) -> Tensor:
        """Of each leaf the last two numbers, (L, 2)."""
        return torch.stack([self.of(leaf)[3:] for leaf in leaves])

    @torch.no_grad()
    def follow_moments(self, variances: dict[Tensor, Tensor], step: int) -> None:
        """After `step` steps of Adam: the sum of its second moments is the running mean of squared norms."""
        for leaf, variance in variances.items():
            known = self.of(leaf)
            known.zero_()
            known[0], known[1], known[2] = variance.sum(), 1 - MEMORY**step, step

    @torch.no_grad()
    def clipped(self, leaves: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """The gradients of the leaves, each at most `most` times its usual size.

        The usual size of a leaf's gradient is the root of the running mean of its squared norm, in which a
        gradient counts as it was cut. Without a step before, or with none but zeros, nothing is cut.
        """
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
