"""A step taken twice from one state and the same random numbers: kept, given back, compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.infer.util import torch_item
from torch import Tensor, fx

from pyro_impl.torch_private import tree_leaves


def rewinding(tensors: Sequence[Tensor]) -> Callable[[], None]:
    """A function that gives `tensors` their present contents back, and every generator its state.

    Of two steps that are compared both must draw the same; and whether steps are compared must not show in
    the numbers of the run.
    """
    contents = [tensor.detach().clone() for tensor in tensors]
    state = torch.get_rng_state()
    # Asked for its state, a GPU that nobody has used would be started.
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def rewind() -> None:
        with torch.no_grad():
            for tensor, content in zip(tensors, contents, strict=True):
                tensor.copy_(content)
        torch.set_rng_state(state)
        if on_gpus is not None:
            torch.cuda.set_rng_state_all(on_gpus)

    return rewind


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers; what is no number equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if torch.equal(one, other):
        return True
    return bool(((one == other) | ((one != one) & (other != other))).all())


def rounding(graph: fx.Graph) -> float:
    """The relative error of one operation, in the coarsest type in which a graph computes."""
    values = [v for node in graph.nodes for v in tree_leaves(node.meta.get("val"))]
    types = {v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()}
    return max((torch.finfo(t).eps for t in types), default=0.0)


@dataclass(frozen=True)
class Outcome:
    """The loss of a step, or several, and its gradients or what it has changed."""

    loss: Any
    tensors: list[Tensor]


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
    sizes: list[float] = field(default_factory=list)  # the largest that each gradient had

    def difference(
        self, compiled: Outcome, eager: Outcome, names: Sequence[str] = ()
    ) -> str | None:
        """What differs by more than rounding, in words; None where nothing does.

        names: of what the gradients are by.
        """
        losses = torch_item(compiled.loss), torch_item(eager.loss)
        apart = _relative(*losses, self.loss)
        # Where a fit has converged a gradient is what rounding leaves of terms that were as large as it was.
        sizes = [*map(_size, eager.tensors)]
        self.sizes = [*map(max, sizes, self.sizes or sizes)]
        each = _relative_to(compiled.tensors, eager.tensors, self.sizes)
        gradients = max(each, default=0.0)
        root, usual = 3 * self.eps**0.5, 30 * (self.first or 0.0)
        most = root if self.first is None else max(self.eps ** (2 / 3), min(usual, root))
        self.loss = losses[1]
        if self.first is None:
            self.first = max(apart, gradients)
        if apart > most:
            what, (found, expected) = "loss", losses
        elif gradients > max(root, usual):
            i = each.index(gradients)
            what = f"gradient's norm{f' of {names[i]}' if names else ''}"
            found, expected = (float(o.tensors[i].norm()) for o in (compiled, eager))
        else:
            return None
        return f"the {what} of the compiled step is {found:.9g} and that of an eager one {expected:.9g}"


def _relative(found: float, expected: float, before: float) -> float:
    """How far apart two losses are, by their size or that of an earlier one."""
    if found == expected or (math.isnan(found) and math.isnan(expected)):
        return 0.0
    size = max(abs(expected), abs(before) if math.isfinite(before) else 0.0)
    return abs(found - expected) / size if math.isfinite(found - expected) and size else math.inf


def _size(tensor: Tensor) -> float:
    finite = tensor.detach().nan_to_num(posinf=0.0, neginf=0.0).abs()
    return float(finite.max()) if tensor.numel() else 0.0


def _relative_to(
    found: list[Tensor], expected: list[Tensor], sizes: Sequence[float]
) -> list[float]:
    """How far apart the entries of each are, by its size, or a thousandth of the largest one's."""
    # A gradient that is zero but for rounding has no size of its own to be compared by.
    least, each = 1e-3 * max(sizes, default=0.0), []
    for f, e, size in zip(found, expected, sizes, strict=True):
        f, e = f.double(), e.to(f.device).double()
        apart = (f - e).abs().masked_fill(f.isclose(e, 0.0, 0.0, equal_nan=True), 0.0)
        scale, worst = max(size, least), float(apart.max()) if apart.any() else 0.0
        relative = worst / scale if scale and worst else (math.inf if worst else 0.0)
        each.append(math.inf if math.isnan(relative) else relative)
    return each
