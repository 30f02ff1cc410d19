"""What the benchmark asks of a backend: its ways to train, and what one that has started shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twinplate.training.plan import Chunk
from twinplate.training.state import Array

CASE_RATE = 1e-4  # learning rate of a user's programs
# What `limits` times, by device: rows of the square matrices that are multiplied, numbers that are copied.
LIMIT_SIZES = {"cpu": (2048, 2**25), "gpu": (8192, 2**25)}
# The way whose machine code is made while steps are replayed.
IN_BACKGROUND = "Pyro, ours, in background"

TakeSteps = Callable[[Chunk], Array]  # takes the steps of a chunk; their losses per item (steps,)
Tell = Callable[[str], None]  # is told what is being done


@dataclass(frozen=True)
class Route:
    """One way to train: `start()` begins a training run.

    exact: the run takes a chunk's noise where it has some, so that its losses can be compared.
    compiler: it needs torch's compiler, whose own start is then part of compiling.
    """

    start: Callable[[], TakeSteps]
    exact: bool = True
    compiler: bool = False


@dataclass(frozen=True)
class Started:
    """A run that is under way, with the losses of its first chunk.

    compile_s: seconds to the end of the first chunk, beyond those of a later one.
    working_mb: peak of what a step allocates beyond data, parameters and moments, in 10⁶ bytes.
    """

    run: TakeSteps
    losses: Array
    compile_s: float
    working_mb: float


class BenchBackend(Protocol):
    """What the module `bench.routes` of a twin offers."""

    def devices(self) -> tuple[str, ...]:
        """ "cpu", and "gpu" where there is one."""

    def equal_terms(self, threads: int) -> Any:
        """A context: validation off, full float32 products, no compiled code from a cache."""

    def limits(self, device: str) -> tuple[float, float]:
        """Floating-point operations and copied bytes per second."""

    def ours(self, work: Any, device: str, first: int | None = None) -> dict[str, Route]:
        """The shipped ways to train; with `first` also IN_BACKGROUND, machine code from that step on."""

    def routes(self, work: Any, device: str) -> dict[str, Route]:
        """All ways: shipped, stock, hand-written."""

    def program_routes(self, program: Any, case: Any, device: str) -> dict[str, Route]:
        """The ways to train a user's program; one that is broken breaks the first of them."""

    def begin(self, route: Route, chunk: Chunk, device: str) -> Started:
        """Start a route and take its first chunk."""
