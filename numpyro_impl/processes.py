"""Several processes, on one host or many, whose devices work together: `jax.distributed`."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all, process_allgather

from numpyro_impl.device import find_device, local_devices
from twinplate.errors import InputError
from twinplate.training.shares import Workers

ADDRESS, SIZE, RANK = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
SILENCE = (
    8  # seconds without a sign of life after which JAX takes a process for dead and ends the others
)


def join_processes() -> None:
    """Join the others that the environment names, and wait for them.

    Read are JAX_COORDINATOR_ADDRESS (HOST:PORT of rank 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID. Without
    the first of them there are no others. Without the other two, JAX asks the cluster (SLURM, Open MPI).
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return
    size, rank = (_number(name) for name in (SIZE, RANK))
    jax.distributed.initialize(
        address, size, rank, heartbeat_timeout_seconds=SILENCE, shutdown_timeout_seconds=SILENCE
    )


def chosen_devices(name: str, count: int | None) -> tuple[Sequence[jax.Device] | None, int]:
    """The devices of all processes that train together, and the rank of this one among them.

    name: of their kind.  count: of every process; by default one where there is one process, and else all.
    No devices where neither says that there are to be several. Raises InputError where there are not as many.
    """
    join_processes()
    own = None if count is None else local_devices(name, count)
    if jax.process_count() == 1:
        return own, 0
    kind = find_device(name).platform
    number = count or len(jax.local_devices(backend=kind))
    ranks = range(jax.process_count())
    each = (jax.local_devices(process_index=rank, backend=kind)[:number] for rank in ranks)
    return [device for devices in each for device in devices], jax.process_index()


def given(value: Any) -> Any:
    """The value of rank 0, in all processes, which are parts of one command and trust each other."""
    content = np.frombuffer(pickle.dumps(value), np.uint8)
    size = int(broadcast_one_to_all(np.array(len(content), np.int32)))
    sent = np.resize(content, size)  # of what other processes give only the size counts
    return pickle.loads(np.asarray(broadcast_one_to_all(sent)).tobytes())


def leave_processes() -> None:
    """Part from the others, once all of them are here; a process that works on does so alone."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def what_ended(error: Exception) -> str:
    """In words, for the error with which work of several processes broke off."""
    said = str(error).splitlines()[0]
    others = [rank for rank in range(jax.process_count()) if rank != jax.process_index()]
    if len(others) == 1:
        return f"the process of rank {others[0]} has ended ({said})"
    return f"another process, of rank {' or '.join(map(str, others))}, has ended ({said})"


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if text is not None and not text.isdecimal():
        raise InputError(f"{name} is {text!r} in the environment; expected a whole number")
    return None if text is None else int(text)


def all_workers() -> Workers | None:
    """This process among all; None where it is alone."""
    if jax.process_count() == 1:
        return None
    return Workers(jax.process_index(), jax.process_count(), _gather)


def check_same_program(text: str) -> None:
    """Raise InputError, in all processes, where they have traced different programs.

    Their all-reduces would add numbers of one to others of another, without a word. A program that goes
    through a set of names is another one in each process, as Python shuffles sets by another seed.
    """
    workers = all_workers()
    if workers is not None:
        found = workers.gather(hashlib.sha256(text.encode()).hexdigest())
        other = [rank for rank, theirs in enumerate(found) if theirs != found[0]]
        if other:
            raise InputError(
                f"the process of rank {other[0]} has traced another program than that of rank 0; expected "
                "the same program and arguments in all processes; where it goes through a set of names, sort "
                "them, or set PYTHONHASHSEED=0 in the environment of each"
            )


def _gather(value: Any) -> list[Any]:
    """The values of all processes by rank: numbers, texts, and lists and dictionaries of them."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = process_allgather(np.array(len(text), np.int32))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(text)] = text
    found = process_allgather(padded)
    return [
        json.loads(row[:size].tobytes().decode()) for row, size in zip(found, sizes, strict=True)
    ]
