"""A step taken twice from one state and the same random numbers: kept, given back, compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from pyro.infer.util import torch_item
from torch import Tensor, fx

from pyro_impl.torch_private import tree_leaves


@contextmanager
def same_draws() -> Iterator[None]:
    """Afterwards the random numbers are again those of before, on every GPU too.

    Of two steps that are compared both must draw the same; and whether steps are compared must not show in
    the numbers of the run.
    """
    # Without a list torch forks every GPU there is, and starts those that nobody has used.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        yield


@torch.no_grad()
def give_back(tensors: list[Tensor], contents: list[Tensor]) -> None:
    """Write `contents` into `tensors`, one by one."""
    for tensor, content in zip(tensors, contents, strict=True):
        tensor.copy_(content)


def rounding(graph: fx.Graph) -> float:
    """The relative error of one operation, in the coarsest type in which a graph computes."""
    values = [v for node in graph.nodes for v in tree_leaves(node.meta.get("val"))]
    types = {v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()}
    return max((torch.finfo(t).eps for t in types), default=0.0)


@dataclass(frozen=True)
class Outcome:
    """The loss of a step, and its gradients or what is linear in them."""

    loss: Tensor | float
    gradients: list[Tensor]


@dataclass
class Comparison:
    """Compiled steps of one graph beside eager ones, and how far apart rounding may put them.

    The first comes right after the capture, when nothing can have changed: what differs there is rounding,
    and shows how much of it the program is subject to. It may differ by 3√ε. Later a loss may by ε^(2/3), or
    by 30 times what the first one found, up to 3√ε; gradients, in which terms cancel, by
    3√ε, or by those 30 times.
    """

    eps: float  # from `rounding`
    first: float | None = None  # what the first found, relative
    loss: float = 0.0  # at the last one: a loss that crosses zero is compared by that size too

    def difference(self, compiled: Outcome, eager: Outcome) -> str | None:
        """What differs by more than rounding, in words; None where nothing does."""
        losses = torch_item(compiled.loss), torch_item(eager.loss)
        apart = _relative(*losses, self.loss)
        gradients = _largest_relative(compiled.gradients, eager.gradients)
        root, usual = 3 * self.eps**0.5, 30 * (self.first or 0.0)
        most = root if self.first is None else max(self.eps ** (2 / 3), min(usual, root))
        self.loss = losses[1]
        if self.first is None:
            self.first = max(apart, gradients)
        if apart > most:
            what, (found, expected) = "loss", losses
        elif gradients > max(root, usual):
            what = "gradient's norm"
            found, expected = _norm(compiled.gradients), _norm(eager.gradients)
        else:
            return None
        return f"the {what} of the compiled step is {found:.9g} and that of an eager one {expected:.9g}"


def _relative(found: float, expected: float, before: float) -> float:
    """How far apart two losses are, by their size or that of an earlier one."""
    if found == expected or (math.isnan(found) and math.isnan(expected)):
        return 0.0
    size = max(abs(expected), abs(before) if math.isfinite(before) else 0.0)
    return abs(found - expected) / size if math.isfinite(found - expected) and size else math.inf


def _largest_relative(found: list[Tensor], expected: list[Tensor]) -> float:
    """How far apart entries are, by the size of their tensor, or a thousandth of the largest."""
    sizes = [float(e.nan_to_num().abs().max()) if e.numel() else 0.0 for e in expected]
    # A gradient that is zero but for rounding has no size of its own to be compared by.
    least = 1e-3 * max(sizes, default=0.0)
    largest = 0.0
    for f, e, size in zip(found, expected, sizes, strict=True):
        f, e = f.double(), e.to(f.device).double()
        apart = (f - e).abs().masked_fill(f.isclose(e, 0.0, 0.0, equal_nan=True), 0.0)
        if apart.any():
            scale = max(size, least)
            worst = float(apart.max()) / scale if scale else math.inf
            largest = max(largest, math.inf if math.isnan(worst) else worst)
    return largest


def _norm(gradients: list[Tensor]) -> float:
    """Of all of them together."""
    return float(torch.stack([g.norm() for g in gradients]).norm())
