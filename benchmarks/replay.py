"""Replayed steps beside Pyro's own, for twenty programs of the kinds that users write.

    python benchmarks/replay.py [--steps 40] [--programs vae renyi ...] [--json FILE]

Steps of both ways are taken in turns, each in its own parameter store and from its own random numbers;
replayed steps that are compared with eager ones are not timed. The losses of all steps must be equal to
the bit. Printed are the medians, their ratio, the seconds for the record beyond those of its step, and the
share of a replayed step in which is looked at all that the record must not freeze.
Whole runs, with all that is not a step, are those of `whole_runs.py`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from programs import NAMES, Program, load
from pyro.infer import SVI
from reporting import console, facts, print_facts, print_table, write_json

from pyro_impl import CompiledSVI

WARM = 5  # steps before the first that is timed: eager, recorded, replayed for the first time


@dataclass
class Way:
    """One of the two ways to train a program, between its steps."""

    svi: SVI
    program: Program
    store: Any
    random: torch.Tensor
    losses: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def step(self) -> None:
        """Take one, and time it where it is of the usual kind."""
        number = len(self.losses)
        compared = any(s.taken & (s.taken + 1) == 0 for s in replays(self.svi))
        with pyro.get_param_store().scope(self.store), torch.random.fork_rng():
            torch.set_rng_state(self.random)
            started = time.perf_counter()
            self.losses.append(self.svi.step(*self.program.arguments(number)))
            taken = time.perf_counter() - started
            self.random = torch.get_rng_state()
        if number >= WARM and not compared:
            self.seconds.append(taken)


def guarded_seconds(svi: CompiledSVI, times: int = 200) -> float:
    """How long it takes to look at all that a record must not freeze, which every step does; a median."""
    (key, *_) = svi._steps
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        svi._look_for_changes(key)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def replays(svi: SVI) -> list[Any]:
    """The records of a CompiledSVI; none of Pyro's own."""
    return [step for steps in getattr(svi, "_steps", {}).values() for step in steps]


def begin(kind: type[SVI], name: str, **options: Any) -> Way:
    """A program made from one seed."""
    state: Any = {"params": {}, "constraints": {}}
    with pyro.get_param_store().scope(state), torch.random.fork_rng():
        pyro.set_rng_seed(1)
        program = load(name)
        svi = kind(program.model, program.guide, program.optim(), program.loss, **options)
        return Way(svi, program, state, torch.get_rng_state())


def measure(name: str, steps: int) -> dict[str, Any]:
    """Medians in milliseconds, their ratio, the seconds of the record, and its operations."""
    ways = [begin(kind, name) for kind in (SVI, CompiledSVI)]
    for _ in range(WARM + steps):
        for way in ways:
            way.step()
    stock, ours = ways
    if stock.losses != ours.losses:
        raise SystemExit(f"{name}: losses differ")
    medians = [float(np.median(way.seconds)) * 1e3 for way in ways]
    with pyro.get_param_store().scope(ours.store):
        guards = guarded_seconds(ours.svi) * 1e3
    return {
        "program": name,
        "stock_ms": medians[0],
        "replay_ms": medians[1],
        "ratio": medians[0] / medians[1],
        "record_s": ours.svi.compile_seconds,
        "guards": guards / medians[1],
        "operations": sum(len(step.graph.nodes) for step in replays(ours.svi)),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--programs", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [measure(name, options.steps) for name in options.programs]
    shown = [
        [
            row["program"],
            f"{row['stock_ms']:.2f}",
            f"{row['replay_ms']:.2f}",
            f"{row['ratio']:.1f}",
            f"{row['record_s']:.2f}",
            f"{100 * row['guards']:.1f}",
            str(row["operations"]),
        ]
        for row in rows
    ]
    known = facts(steps=options.steps)
    print_facts(known)
    heads = ["program", "Pyro, ms", "replay, ms", "ratio", "record, s", "guards, %", "operations"]
    print_table("a step of Pyro's, and of the replay", heads, shown)
    console.print(f"median ratio {np.median([row['ratio'] for row in rows]):.1f}")
    write_json(options.json, {"facts": known, "rows": rows})


if __name__ == "__main__":
    main()
