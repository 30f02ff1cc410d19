"""Ways to train take turns: each is started, and then timed block by block, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np

from twinplate.bench.backend import BenchBackend, Route, Started, Tell
from twinplate.bench.checks import kept_apart
from twinplate.bench.timing import interleave
from twinplate.bench.workload import SEED
from twinplate.seeds import generator
from twinplate.training.plan import Chunk
from twinplate.training.state import Array

ROUNDS = 25
BLOCK_SECONDS = 0.08  # of a block at the machine's limit
FEWEST_STEPS, MOST_STEPS = 4, 100  # of a block
BUDGET_SECONDS = 240.0  # of all rounds of one table
FEWEST_ROUNDS = 7


def block_steps(seconds: float) -> int:
    """How many steps a block has whose steps take about `seconds` each, or less."""
    wanted = round(BLOCK_SECONDS / seconds)
    return max(min(wanted, MOST_STEPS), min(FEWEST_STEPS, MOST_STEPS))


def begin_all(
    routes: Mapping[str, tuple[BenchBackend, Route]],
    chunk: Chunk,
    device: str,
    tell: Tell,
    told: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> tuple[dict[str, Started], dict[str, str]]:
    """Start every route; those that raise are told by name.

    told: makes the context in which a route of that name is started; an InputError that it raises passes.
    """
    started: dict[str, Started] = {}
    failed: dict[str, str] = {}
    for name, (backend, route) in routes.items():
        tell(f"compiling {name}")
        with kept_apart(name, failed), told(name):
            started[name] = backend.begin(route, chunk, device)
    return started, failed


def take_turns(
    started: dict[str, Started], chunk: Chunk, tell: Tell
) -> tuple[dict[str, Array], dict[str, str]]:
    """Seconds of a step, by name, in every round; and what failed, which `started` loses."""
    failed: dict[str, str] = {}

    def block(name: str) -> None:
        if name in started:
            with kept_apart(name, failed):
                started[name].run(chunk)
        if name in failed:
            started.pop(name, None)  # and its memory

    blocks = {name: partial(block, name) for name in started}
    tell("first round")
    pilot = interleave(blocks, 1, generator(SEED, "order", "first"))
    cost = sum(values[0] for values in pilot.values())
    rounds = int(np.clip(BUDGET_SECONDS / max(cost, 1e-9), min(FEWEST_ROUNDS, ROUNDS), ROUNDS))
    done = iter(range(1, rounds + 1))
    seconds = interleave(
        blocks,
        rounds,
        generator(SEED, "order"),
        lambda: tell(f"round {next(done)} of {rounds}"),
    )
    return {name: seconds[name] / len(chunk.rates) for name in started}, failed
