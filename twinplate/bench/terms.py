"""The terms on which ways to train are compared, and what the machine can do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module

from twinplate.backends import BACKENDS, available_backends, load_backend
from twinplate.bench.backend import BenchBackend
from twinplate.bench.workload import Workload


@dataclass(frozen=True)
class Limits:
    """What the machine can do: operations of a float32 matrix product, copied bytes; per second."""

    flops: float
    bytes: float

    def better(self, other: Limits) -> Limits:
        """The higher of each: what else runs on the machine can only lower them."""
        return Limits(max(self.flops, other.flops), max(self.bytes, other.bytes))

    def step_ms(self, work: Workload) -> float:
        """Milliseconds of a step that only multiplied its matrices and ran Adam, at these limits."""
        return 1e3 * (work.flops / self.flops + work.adam_bytes / self.bytes)


def threads() -> int:
    """How many threads each framework gets: OMP_NUM_THREADS, or the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else cores or 1


def load_bench_backends() -> dict[str, BenchBackend]:
    """What can be loaded: the twins' modules `bench.routes`, by the name of the backend, on equal terms.

    Raises InputError if neither framework is installed.
    """
    # Read when a framework starts: JAX's threads and memory; what torch's profiler says on stderr.
    os.environ["NPROC"] = str(threads())
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    names = available_backends()
    if not names:
        load_backend(next(iter(BACKENDS)))  # says what to install
    return {name: import_module(f"{load_backend(name).__name__}.bench.routes") for name in names}


@contextmanager
def equal_terms(backends: Mapping[str, BenchBackend]) -> Iterator[None]:
    """Threads, precision of matrix products and validation, the same in all backends, and then as before."""
    with ExitStack() as stack:
        for backend in backends.values():
            stack.enter_context(backend.equal_terms(threads()))
        yield


def measure_limits(backends: Mapping[str, BenchBackend], device: str) -> Limits:
    """The better of what the frameworks reach."""
    found = [b.limits(device) for b in backends.values() if device in b.devices()]
    return Limits(*(max(values) for values in zip(*found, strict=True)))
