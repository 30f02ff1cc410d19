"""One point of `growth.py`, in a process of its own so that its peak memory is nobody else's.

python benchmarks/growth_point.py '{"backend": "numpyro", ...}'   prints the point as one line of JSON
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np

from twinplate.backends import load_backend
from twinplate.data.readers import load_matrix
from twinplate.data.table import fingerprint
from twinplate.host import host_memory, peak_memory
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import initial_params
from twinplate.programs.posterior_file import save_posterior
from twinplate.programs.program import ReferenceProgram, make_program
from twinplate.seeds import generator
from twinplate.training.memory import items_at_once

CHUNKS = 4  # the first compiles and is not timed


@dataclass(frozen=True)
class Point:
    """What is measured: sizes as in `Size`, and where the data are.

    data: an NPY file, or "" for random numbers in memory.  block: items of a mini-batch taken at once,
    0 for what the memory allows.  steps: timed together, fewer of large mini-batches.  posterior: also
    write it, packed.  compiled: Pyro's steps, however few; NumPyro's always are.
    """

    backend: str
    num_items: int
    num_features: int
    num_components: int
    batch_size: int
    hidden_width: int = 64
    covariance: str = "full"
    data: str = ""
    block: int = 0
    steps: int = 100
    posterior: bool = False
    compiled: bool = False


def measure(point: Point) -> dict[str, Any]:
    """Seconds to read, ms per step and items at once there, seconds to write, peak memory in MB."""
    implementation = load_backend(point.backend)
    found: dict[str, Any] = {**asdict(point), "base_mb": peak_memory() / 2**20}
    started = time.perf_counter()
    x, program = prepare(point)
    if point.data:
        fingerprint(x)
        found["read_s"] = time.perf_counter() - started
    training = TrainingConfig(CHUNKS * point.steps, point.batch_size, device="cpu")
    marks: list[tuple[int, float]] = []  # steps done, and when
    with swapped(point):
        found["at_once"] = items_at_once(program.config, training, host_memory())
        implementation.fit(
            *(x, program, training),
            progress=lambda step, _: marks.append((step, time.perf_counter())),
            **ways(point),
        )
    steps, seconds = np.diff(marks, axis=0).T  # a chunk of large mini-batches has fewer steps
    times = seconds / steps * 1e3
    found |= {"step_ms": float(np.median(times)), "step_ms_range": [times.min(), times.max()]}
    if point.posterior:
        started = time.perf_counter()
        parts = implementation.posterior_blocks(x, program, initial_params(program, 0))
        with TemporaryDirectory(dir=Path(point.data).parent) as folder:
            save_posterior(Path(folder) / "new", parts, len(x), point.num_components)
        found["write_s"] = time.perf_counter() - started
    return {**found, "peak_mb": peak_memory() / 2**20}


def prepare(point: Point) -> tuple[np.ndarray, ReferenceProgram]:
    """The data and the program for them, as `twinplate fit` prepares them."""
    config = ProgramConfig(
        point.num_features,
        point.num_components,
        covariance=point.covariance,
        learned=(),
        hidden_width=point.hidden_width,
    )
    if point.data:
        x = load_matrix(Path(point.data)).x
        return x, make_program(x, config)
    x = generator(0, "x").standard_normal((point.num_items, point.num_features))
    shape = (point.num_features, point.num_components)
    return x, make_program(
        x, config, LinearGaussian(generator(0, "loadings").standard_normal(shape))
    )


def ways(point: Point) -> dict[str, bool]:
    """How Pyro takes its steps: by itself, or as machine code."""
    both = {"compiled": point.compiled, "machine_code": point.compiled}
    return both if point.backend == "pyro" else {}


def swapped(point: Point) -> ExitStack:
    """Chunks of as many steps as are timed together, blocks as asked for."""
    stack = ExitStack()
    stack.enter_context(mock.patch("twinplate.training.plan.CHUNK", point.steps))
    if point.block:
        stack.enter_context(
            mock.patch("twinplate.training.memory.fitting", mock.Mock(return_value=point.block))
        )
    return stack


if __name__ == "__main__":
    print(json.dumps(measure(Point(**json.loads(sys.argv[1])))))
