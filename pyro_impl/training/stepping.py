"""The steps of a trainer, one kind for each estimator: replayed or Pyro's own; of one process or a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_impl.compiled.reducing import Reduction
from pyro_impl.compiled.svi import CompiledSVI
from pyro_impl.objectives.item_blocks import Share, backward
from pyro_impl.objectives.losses import Loss, make_loss
from pyro_impl.programs.assembly import Pair
from pyro_impl.training.carry import Carry
from twinplate.training.preparation import Preparation

# Takes one step, on the mini-batch of the items and with the base noise by site, and returns its loss.
Step = Callable[[Tensor, dict[str, Tensor]], Any]


@dataclass(eq=False)
class Stepping:
    """Makes the steps when they are asked for.

    data, pairs: from which a step takes the items that it is given.
    at_once: how many of these a step takes at once; fewer than all are taken in blocks.
    reduction: over the processes of a group, which take each mini-batch together; None for all of it.
    """

    run: Preparation
    pair: Pair
    carry: Carry
    data: Tensor
    pairs: Tensor | None
    at_once: int
    compiled: bool
    machine_code: bool | int
    reduction: Reduction | None = None
    known: dict[str, Step] = field(default_factory=dict)  # by estimator
    svis: list[CompiledSVI] = field(default_factory=list)

    def of(self, estimator: str) -> Step:
        """The step by one of `twinplate.programs.config.ESTIMATORS`."""
        if estimator not in self.known:
            training = replace(self.run.training, estimator=estimator)
            loss = make_loss(self.pair, training, len(self.run.x))
            self.known[estimator] = self._compiled(loss) if self.compiled else self._eager(loss)
        return self.known[estimator]

    @property
    def share(self) -> Share | None:
        """Of each mini-batch, where a group takes it together."""
        if self.reduction is None:
            return None
        return Share(self.run.share, self.run.training.batch_size)

    def _differentiation(self, loss: Loss) -> Callable[..., Tensor]:
        """The loss of a mini-batch, its gradient added to the leaves'."""
        axes = self.run.item_axes
        return partial(backward, loss, length=self.at_once, axes=axes, share=self.share)

    def _compiled(self, loss: Loss) -> Step:
        data, pairs = self.data, self.pairs
        differentiate = self._differentiation(loss)

        def taken(model: Any, guide: Any, items: Tensor, noise: dict[str, Tensor]) -> Tensor:
            return differentiate(data[items], None if pairs is None else pairs[:, items], noise)

        program, optimizer = (self.pair.model, self.pair.guide), self.carry.optimizer
        # Of a run that ends before, nothing is compiled.
        due = self.machine_code if self.machine_code <= self.run.training.steps else False
        svi = CompiledSVI(*program, optimizer, loss, taken, machine_code=due)
        store, known = pyro.get_param_store(), self.carry.leaves.values()
        names = {n: leaf for leaf in known if (n := store.param_name(leaf)) is not None}
        self.svis.append(svi.prepared(names, self.carry.clip, self.reduction))

        def step(items: Tensor, noise: dict[str, Tensor]) -> Any:
            svi.number = self.carry.step  # of those before: steps are taken again, and runs go on
            return svi.advance(items, noise)

        return step

    def _eager(self, loss: Loss) -> Step:
        leaves, optimizer = list(self.carry.leaves.values()), self.carry.optimizer
        clip, reduction = self.carry.clip, self.reduction
        differentiate = self._differentiation(loss)

        def step(items: Tensor, noise: dict[str, Tensor]) -> Tensor:
            a = None if self.pairs is None else self.pairs[:, items]
            optimizer.zero_grad()
            value = differentiate(self.data[items], a, noise)
            found = {}
            for leaf in leaves:  # torch leaves out one without a gradient, and its moments
                found[leaf] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            if reduction is not None:
                value, found = reduction(value, found)
            for leaf, gradient in found.items():
                leaf.grad = gradient
            clip.cut_leaves(leaves)
            optimizer.step()
            return value

        return step
