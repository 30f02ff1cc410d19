"""Several processes of the command on this machine, started and watched by torch's own launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from twinplate.errors import InputError

OURS = (signal.SIGTERM, signal.SIGINT)  # by which the launcher ends the others


@dataclass(frozen=True)
class Ended:
    """How the processes ended.

    exit_code: of the command.  lost: rank of a process that was ended from outside, and by which signal.
    """

    exit_code: int
    lost: tuple[int, str] | None = None


def launch(words: Sequence[str], processes: int, device: str) -> Ended:
    """Run `python -m twinplate WORDS` in so many processes, as `torchrun --standalone` would.

    Where one ends with an error the others are ended; signals go on to all of them. Raises InputError where
    there are fewer GPUs and `device` is not "cpu".
    """
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    if gpus and gpus < processes:
        raise InputError(
            f"--devices is {processes} and torch sees {gpus}; expected that many at most, or --device cpu"
        )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # we say it ourselves
    # Otherwise each would take all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "twinplate", *words)
    except ChildFailedError as error:
        return _ended(error)
    except SignalException as stopped:
        return Ended(128 + int(stopped.sigval))
    return Ended(0)


def _ended(error: ChildFailedError) -> Ended:
    codes = {rank: failure.exitcode for rank, failure in sorted(error.failures.items())}
    for rank, code in codes.items():
        if code < 0 and -code not in OURS:
            return Ended(2, (rank, signal.Signals(-code).name))
    return Ended(next((code for code in codes.values() if code > 0), 2))
