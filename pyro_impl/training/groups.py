"""The processes of a group of `torch.distributed` as workers of one training run."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as torch_distributed

from pyro_impl.compiled.reducing import Reduction
from pyro_impl.training.carry import Carry
from twinplate.training.preparation import Preparation
from twinplate.training.shares import LostProcessError, Workers


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


# A process that ends is noticed at once. This long the others wait for one that is there, as rank 0 is while
# it looks at all data.
PATIENCE = timedelta(days=1)


def join() -> torch_distributed.ProcessGroup:
    """The group of all processes that torchrun has started with this one, each on a GPU of its own if any."""
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    kind = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    torch_distributed.init_process_group(kind, timeout=PATIENCE)
    world = torch_distributed.group.WORLD
    assert world is not None
    return world


def leave() -> None:
    """Part from the others; a process that works on does so alone."""
    torch_distributed.destroy_process_group()


def given(group: torch_distributed.ProcessGroup, value: Any = None) -> Any:
    """The value of rank 0, in all processes. Raises LostProcessError where it has ended instead."""
    found = [value]
    try:
        torch_distributed.broadcast_object_list(found, 0, group=group)
    except RuntimeError as error:
        raise LostProcessError("the process of rank 0 has ended") from error
    return found[0]
