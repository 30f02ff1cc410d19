"""Losses and gradients of the processes of a group added up: one all-reduce of one flat buffer a step.

Every step does that once, whether Pyro takes it, or it is replayed, recorded or compared. So processes whose
steps are of different kinds still meet. What comes of it is the same in all of them, and so is whatever
follows: the cut of gradients, the optimiser, the judgement of the net.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
import torch.distributed as torch_distributed
from pyro.infer.util import zero_grads
from torch import Tensor

from twinplate.errors import InputError
from twinplate.training.shares import LostProcessError

Gradients = dict[Tensor, Tensor]  # by leaf


class Reduction:
    """The weighted sum of losses and gradients over the processes of a group.

    group: of `torch.distributed`.  weight: of this process; those of all add up to 1, by default 1 / R each.
    settled: leaves by name where they are known to be the same in all processes, and all that there ever are.
        Otherwise each step asks whether a process has found a new one, and they agree on it first.
    """

    def __init__(
        self,
        group: torch_distributed.ProcessGroup,
        weight: float | None = None,
        settled: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._group, self._size = group, torch_distributed.get_world_size(group)
        self._weight = 1 / self._size if weight is None else weight
        self._settled = settled is not None
        self._leaves = _in_order(settled or {})
        self.bytes = 0  # that the last all-reduce was given

    def of_leaves(
        self, loss: Any, leaves: dict[str, Tensor], again: Callable[[], Any]
    ) -> tuple[Any, list[Tensor]]:
        """The loss, and the leaves of which any process has a gradient, with the sum of them as gradient.

        leaves: by name, of a step that has left gradients in them.  again: takes that once more, where this
        process began with other values than the first one.
        """
        new = any(self._leaves.get(name) is not leaf for name, leaf in leaves.items())
        found = self._sum(loss, _gradients(leaves), new)
        if found is None:  # a process has a leaf that is new
            if not self._agree(leaves):
                zero_grads([*leaves.values()])
                loss = again()
            found = self._sum(loss, _gradients(leaves), False)
            assert found is not None
        for name, leaf in self._leaves.items():
            leaf.grad = found[1].get(leaf)
            if leaf.grad is not None and name not in leaves and name in pyro.get_param_store():
                pyro.param(name)  # for SVI, which moves what the step has visited
        return found[0], [*found[1]]

    def __call__(self, loss: Any, gradients: Gradients) -> tuple[Any, Gradients]:
        """The sums, of leaves that all processes know."""
        found = self._sum(loss, gradients, False)
        if (
            found is None
        ):  # a process that records meanwhile has found a new leaf: it waits for an answer
            self._agree({})
            found = self._sum(loss, gradients, False)
            assert found is not None
        return found

    def _sum(self, loss: Any, gradients: Gradients, new: bool) -> tuple[Any, Gradients] | None:
        """None where a process has a new leaf, so that the leaves of the processes may not be the same."""
        losses = loss if isinstance(loss, tuple) else (loss,)
        leaves = [*self._leaves.values()]
        like = _common(leaves or [*gradients] or [torch.zeros(())])
        given = [gradients.get(leaf) for leaf in leaves]
        asked = [] if self._settled else [new, *(g is not None for g in given)]
        head = [torch.as_tensor(v, dtype=like.dtype, device=like.device).detach() for v in losses]
        head.append(torch.tensor(asked, dtype=like.dtype, device=like.device))
        parts = [like.new_zeros(leaf.numel()) if g is None else g.detach().reshape(-1).to(like)
                 for leaf, g in zip(leaves, given, strict=True)]  # fmt: skip
        flat = torch.cat([part.reshape(-1) for part in (*head, *parts)]).mul_(self._weight)
        self._all_reduce(flat)
        sizes = [len(losses), len(asked), *(leaf.numel() for leaf in leaves)]
        totals, answers, *sums = flat.split(sizes)
        if not self._settled:
            is_new, *has = (answers > 0).tolist()
            if is_new:
                return None
        else:
            has = [True] * len(leaves)
        found = {
            leaf: total.view(leaf.shape).to(leaf.dtype)
            for leaf, total, there in zip(leaves, sums, has, strict=True)
            if there
        }
        return (tuple(totals) if isinstance(loss, tuple) else totals[0]), found

    def _all_reduce(self, flat: Tensor) -> None:
        self.bytes = flat.numel() * flat.element_size()
        try:
            torch_distributed.all_reduce(flat, group=self._group)
        except RuntimeError as error:
            text = str(error).strip().splitlines() or [""]
            raise LostProcessError(
                "another process of the group has ended, or no longer answers, and so no step can be "
                f"taken together ({text[0]})"
            ) from error

    def _agree(self, leaves: dict[str, Tensor]) -> bool:
        """Whether all processes had the same values of all leaves; if not, those of the first one count.

        Raises InputError, in all processes, where one has other leaves than the first.
        """
        leaves = _in_order(self._leaves | leaves)
        mine = {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in leaves.items()}
        values = {name: _digest(leaf) for name, leaf in leaves.items()}
        found: list[Any] = [None] * self._size
        torch_distributed.all_gather_object(found, (mine, values), group=self._group)
        for rank, (theirs, _) in enumerate(found):
            if theirs != found[0][0]:
                raise InputError(_difference(rank, theirs, found[0][0]))
        self._leaves = leaves
        others = [n for n in leaves if any(theirs[n] != values[n] for _, theirs in found)]
        first = torch_distributed.get_global_rank(self._group, 0)
        for leaf in map(leaves.__getitem__, others):
            content = leaf.detach().clone(memory_format=torch.contiguous_format)
            torch_distributed.broadcast(content, first, group=self._group)
            with torch.no_grad():
                leaf.copy_(content)
        return not others


def _in_order(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By name, each leaf once: the same order in all processes."""
    found = {id(leaves[name]): name for name in sorted(leaves, reverse=True)}
    return {name: leaves[name] for name in sorted(found.values())}


def _gradients(leaves: Mapping[str, Tensor]) -> Gradients:
    return {leaf: leaf.grad for leaf in leaves.values() if leaf.grad is not None}


def _common(tensors: list[Tensor]) -> Tensor:
    """A tensor of the type that holds the numbers of all of them."""
    dtype = tensors[0].dtype
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return torch.zeros((), dtype=dtype, device=tensors[0].device)


def _digest(leaf: Tensor) -> str:
    content = leaf.detach().cpu().contiguous()
    return hashlib.sha256(content.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def _difference(rank: int, theirs: dict[str, Any], first: dict[str, Any]) -> str:
    """What the parameters of a process have otherwise than those of the first one."""
    parts = [f"has no {name!r}" for name in first if name not in theirs]
    parts += [f"has {name!r} besides" for name in theirs if name not in first]
    parts += [
        f"has {name!r} of {_shown(theirs[name])} and not {_shown(first[name])}"
        for name in first
        if name in theirs and theirs[name] != first[name]
    ]
    return (
        f"the parameters of the process of rank {rank} are not those of rank 0: it {', '.join(parts)}; "
        "expected the same program in all processes of a group, whatever their mini-batches"
    )


def _shown(described: tuple[tuple[int, ...], str]) -> str:
    return f"shape {described[0]} and type {described[1].removeprefix('torch.')}"
