"""A mini-batch too large for the device's memory, taken in blocks of items within one step.

The loss is a sum over items, so its value and its gradient are sums over blocks. Each block consumes
its part of the noise that the whole mini-batch would have drawn: the step is the same but for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_impl.objectives.losses import Loss
from pyro_impl.programs.noise import noise_shape, push_forward, unwrapped
from pyro_impl.torch_private import standard_normal
from twinplate.data.blocks import spans

# Blocks of a step that is replayed or becomes machine code: its record repeats the step for each of them, so
# that memory and the time to record grow with their number, and the compiler's minutes faster still.
MOST_REPLAYED = 16


@dataclass(frozen=True)
class Share:
    """The items `rows` of mini-batches of `whole` items, which one of several processes takes."""

    rows: slice
    whole: int


class block_noise(Messenger):  # noqa: N801  (handlers are lower case in Pyro)
    """Draw the noise of all items of a mini-batch at every site and keep that of the items `rows`.

    whole: how many items that are.  like: a tensor of the type and on the device of the noise.
    drawn: shared by the blocks of a mini-batch. What the first one draws, for every visit of a site,
    serves the others.
    """

    def __init__(
        self, rows: slice, whole: int, like: Tensor, drawn: dict[tuple[str, int], Tensor]
    ) -> None:
        super().__init__()
        self.rows, self.whole, self.like, self.drawn = rows, whole, like, drawn
        self._visits: dict[str, int] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["value"] is not None or site_is_subsample(msg):
            return
        if isinstance(unwrapped(msg["fn"]), dist.Delta):
            return
        name, axis = msg["name"], len(msg["fn"].batch_shape) - 1
        visit = self._visits[name] = self._visits.get(name, 0) + 1
        if (name, visit) not in self.drawn:
            shape = list(noise_shape(msg["fn"]))
            shape[axis] = self.whole
            noise = standard_normal(torch.Size(shape), self.like.dtype, self.like.device)
            self.drawn[name, visit] = noise
        size = self.rows.stop - self.rows.start
        noise = self.drawn[name, visit].narrow(axis, self.rows.start, size)
        msg["value"] = push_forward(msg["fn"], noise)


def backward(
    loss: Loss,
    x: Tensor,
    a: Tensor | None,
    noise: dict[str, Tensor],
    length: int,
    axes: dict[str, int],
    share: Share | None = None,
) -> Tensor:
    """The value of `loss(x, a, noise)`, its gradient added to the leaves', `length` items at a time.

    axes: of the items in the base noise of each site (`twinplate.training.memory.item_axes`).
    share: which items of a mini-batch these are; by default all of one.
    """
    start, whole = (share.rows.start, share.whole) if share else (0, len(x))
    if length >= len(x) == whole:
        value = loss(x, a, noise)
        value.backward()
        return value.detach()
    total = x.new_zeros(())
    drawn: dict[tuple[str, int], Tensor] = {}
    for rows in spans(len(x), length):
        size = rows.stop - rows.start
        given = {name: v.narrow(axes[name], rows.start, size) for name, v in noise.items()}
        place = slice(start + rows.start, start + rows.stop)
        with block_noise(place, whole, x, drawn):
            part = loss(x[rows], None if a is None else a[:, rows], given)
            # A step that is recorded has it in double precision, as Pyro's losses are in Python.
            value = part.to(x.dtype) * (size / len(x))
        value.backward()
        total += value.detach()
    return total
