"""The processes of a group of `torch.distributed` as workers of one training run."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.distributed as torch_distributed

from pyro_impl.compiled.reducing import Reduction
from pyro_impl.training.carry import Carry
from twinplate.training.preparation import Preparation
from twinplate.training.shares import Workers


def workers_of(group: torch_distributed.ProcessGroup | None) -> Workers | None:
    """This process among those of the group; None without one."""
    if group is None:
        return None
    rank, size = torch_distributed.get_rank(group), torch_distributed.get_world_size(group)
    return Workers(rank, size, partial(_gather, group, size))


def _gather(group: torch_distributed.ProcessGroup, size: int, value: Any) -> list[Any]:
    found: list[Any] = [None] * size
    torch_distributed.all_gather_object(found, value, group=group)
    return found


def reduction_of(
    group: torch_distributed.ProcessGroup | None, run: Preparation, carry: Carry
) -> Reduction | None:
    """The sum over the group, in which each process counts as its items do; None without one."""
    if group is None:
        return None
    return Reduction(group, run.shared / run.training.batch_size, settled=carry.leaves)
