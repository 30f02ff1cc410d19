"""Runs with machine code of a process of its own: one tiny program, and what becomes of the process."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pyro
from compiled_runs import losses, model_with

from pyro_impl import CompiledSVI
from pyro_impl.compiled import compilation

WAIT = "import sys; sys.stdin.buffer.read(); sys.exit(1)"  # instead of compiling


def model(x, y):
    return model_with(lambda *_: 1.0)(x, y)


def with_machine_code(first=8, steps=12, **options):
    """(losses, parameters, svi), with machine code from step `first` on."""
    found, svi = losses(CompiledSVI, model, steps=steps, machine_code=first, **options)
    store = pyro.get_param_store()
    return found, {name: store[name].detach().clone() for name in store}, svi


def is_alive(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def gone(process: int) -> bool:
    """Within ten seconds."""
    for _ in range(100):
        if not is_alive(process):
            return True
        time.sleep(0.1)
    return False


def job_of(svi) -> compilation._Job:
    (step,) = (step for steps in svi._steps.values() for step in steps)
    return step.begun.args[2].__self__._job


def started(job) -> int:
    """The number of its process, which a job before it may keep waiting."""
    gc.collect()  # a job ends with the steps that it is for, and they are part of a circle
    for _ in range(3000):
        if job._process is not None:
            return job._process.pid
        time.sleep(0.01)
    raise AssertionError("no process within half a minute")
