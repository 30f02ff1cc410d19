"""The rows of `benchmarks/devices.py` in Pyro: a process for each device, over gloo."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from twinplate.bench.workload import SIZES, make_workload
from twinplate.programs.config import TrainingConfig

NUMBERS = (1, 2)  # of processes
WARM = 2  # turns before the first that counts: steps are recorded, and compared


def measure(size: str, precision: str, rounds: int, steps: int) -> list[dict[str, Any]]:
    """A row for each number of processes; they take turns of so many steps, and all others wait."""
    import torch.multiprocessing as processes

    with tempfile.TemporaryDirectory() as folder:
        given = size, precision, rounds, steps, folder
        processes.spawn(_take_turns, given, nprocs=max(NUMBERS))
        found = json.loads(Path(folder, "found").read_text())
    seconds = np.array(found["seconds"])[WARM:]
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    return [
        {
            "framework": "pyro",
            "size": size,
            "devices": n,
            "precision": precision,
            "ratio": float(ratio),
            "bytes": 2 * (n - 1) / n * reduced,  # of a ring
            "bound": 2 * (n - 1) / n * found["gradients"],
        }
        for n, ratio, reduced in zip(NUMBERS, ratios, found["reduced"], strict=True)
    ]


def _take_turns(rank: int, size: str, precision: str, rounds: int, steps: int, folder: str) -> None:
    """One of the processes; that of rank 0 writes what was found."""
    import torch
    import torch.distributed as torch_distributed

    from pyro_impl import Trainer

    torch.set_num_threads(1)
    meeting = {"init_method": f"file://{folder}/meeting", "world_size": max(NUMBERS)}
    torch_distributed.init_process_group("gloo", rank=rank, **meeting)
    work, turns = make_workload(SIZES[size]), rounds + WARM
    batch = {"batch_size": work.size.batch_size, "precision": precision, "device": "cpu"}
    training = TrainingConfig(steps=2 * steps * turns, **batch)  # chunks are cut to turns
    groups = [None if n == 1 else torch_distributed.new_group([*range(n)]) for n in NUMBERS]
    mine = [n > rank for n in NUMBERS]
    trainers = [
        Trainer(work.x, work.program, training, group=group) if here else None
        for group, here in zip(groups, mine, strict=True)
    ]
    # chunks of one plan, whose steps go on: a chunk that began again would be a step back
    plan = list(_turns(trainers[0] or trainers[-1], steps, turns))
    seconds = np.zeros((turns, len(NUMBERS)))
    for i, chunk in enumerate(plan):
        for j, trainer in enumerate(trainers):
            torch_distributed.barrier()
            started = time.perf_counter()
            if trainer is not None:
                trainer.run(chunk)
            seconds[i, j] = time.perf_counter() - started
    if rank == 0:
        reductions = [trainer._stepping.reduction for trainer in trainers if trainer is not None]
        params = trainers[0].state.params.values() if trainers[0] else ()
        found = {
            "seconds": seconds.tolist(),
            "reduced": [0 if one is None else one.bytes for one in reductions],
            "gradients": (8 if precision == "float64" else 4) * sum(v.size for v in params),
        }
        Path(folder, "found").write_text(json.dumps(found))
    torch_distributed.destroy_process_group()


def _turns(trainer: Any, steps: int, turns: int) -> Any:
    """So many steps each, of the trainer's plan."""
    from dataclasses import replace

    left, first = turns, 0  # what is left of a chunk is not used
    for chunk in trainer.plan():
        for start in range(0, len(chunk.rates) - steps + 1, steps):
            if left:
                part = slice(start, start + steps)
                cut = {"indices": chunk.indices[part], "rates": chunk.rates[part]}
                yield replace(chunk, first=first, **cut)
                left, first = left - 1, first + steps
