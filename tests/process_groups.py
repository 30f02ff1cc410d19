"""Real processes on this machine that form a group of `torch.distributed`, over gloo."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from importlib import import_module
from pathlib import Path

# What takes long to import; torch's first optimiser asks for its compiler.
SLOW = ("torch._dynamo", "pyro_impl.training.trainer", "pyro_impl.compiled.svi")


def in_group(size, function, *arguments):
    """What `function(group, *arguments)` returns in each of `size` processes, by rank.

    The function is one of a module that can be imported. The processes are forked from a server that has
    imported what takes long once.
    """
    import torch.multiprocessing as processes

    # The server, which the first call starts, passes over in silence what it cannot import.
    multiprocessing.set_forkserver_preload([import_module(name).__name__ for name in SLOW])
    with tempfile.TemporaryDirectory() as folder:
        given = size, folder, function, arguments
        processes.start_processes(_run, given, nprocs=size, start_method="forkserver")
        import torch

        return [torch.load(Path(folder, str(rank)), weights_only=False) for rank in range(size)]


def _run(rank, size, folder, function, arguments):
    import torch
    import torch.distributed as torch_distributed

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    torch_distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
    )
    found = function(torch_distributed.group.WORLD, *arguments)
    torch.save(found, Path(folder, str(rank)))
    torch_distributed.destroy_process_group()
