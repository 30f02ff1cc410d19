"""A step of the automatic joint guide ÷ one of a guide by hand, from tiny to middling networks.

    python benchmarks/joint_step.py [--sizes tiny small middle] [--model linear] [--rounds 15] [--json FILE]

Guides and models are those of `amortised.py`; ways are Pyro's SVI, the replayed steps of `CompiledSVI`, and
a compiled loop of NumPyro's SVI. Rounds of steps are taken in turns; printed is the ratio of their times with
its 95 % interval. Ours puts inputs in spreads, has a skip and cuts far gradients, which one by hand does not.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from amortised import HAND, OURS
from amortised_problems import MODELS, Problem, make_problem
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.bench.timing import interleave, ratio

RATE, SCHEDULED = 1e-3, 100_000


class Size(NamedTuple):
    """Of the two hidden layers, of an item, of its vector, of a mini-batch; and the steps of a round."""

    hidden: int
    features: int
    components: int
    batch_size: int
    steps: int


SIZES = {
    "tiny": Size(32, 8, 3, 100, 40),
    "small": Size(128, 64, 8, 256, 20),
    "middle": Size(256, 256, 8, 512, 10),
}
WAYS = ("Pyro, SVI", "Pyro, CompiledSVI", "NumPyro, compiled loop")


def make_run(way: str, problem: Problem, guide: str, size: Size) -> Any:
    """A guide in training, past what a first step does and what is checked at steps 2, 4, 8, …"""
    given = (problem, guide, RATE, SCHEDULED, size.batch_size, size.hidden)
    if way.startswith("NumPyro"):
        import amortised_numpyro

        run = amortised_numpyro.Run(*given)
    else:
        import amortised_pyro
        import torch
        from pyro.infer import SVI

        from pyro_impl import CompiledSVI

        torch.set_num_threads(1)
        run = amortised_pyro.Run(*given, CompiledSVI if way.endswith("CompiledSVI") else SVI)
    run.take(70)
    return run


def measure(way: str, name: str, model: str, rounds: int) -> dict[str, Any]:
    """A row: milliseconds of a step of each guide, and their ratio."""
    size = SIZES[name]
    problem = make_problem(model, 2 * size.batch_size, size.features, size.components)
    runs = {guide: make_run(way, problem, guide, size) for guide in (HAND, OURS)}
    seconds = interleave(
        {guide: lambda r=run: r.take(size.steps) for guide, run in runs.items()},
        rounds,
        np.random.default_rng(0),
    )
    ms = {g: 1e3 * float(np.median(taken)) / size.steps for g, taken in seconds.items()}
    found = {"way": way, "size": name, "model": model, **size._asdict()}
    return {**found, "ms_per_step": ms, "ratio": vars(ratio(seconds[OURS], seconds[HAND]))}


def main(arguments: list[str] | None = None) -> None:
    """Measure each way at each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--model", choices=MODELS, default="linear")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(rounds=options.rounds, precision="float32", seed=0)
    print_facts(known)
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in options.sizes:
            for way in WAYS:
                rows.append(measure(way, name, options.model, options.rounds))
                console.print(rows[-1])
                write_json(options.json, {"facts": known, "rows": rows})
    cells = [[f"{r['size']}, {r['way']}", *_told(r)] for r in rows]
    columns = ["", "ours ÷ by hand", "95 %", "ms by hand", "ms ours"]
    print_table(f"Time of a step, {options.model}", columns, cells)


def _told(row: dict[str, Any]) -> list[str]:
    middle, low, high = (row["ratio"][k] for k in ("median", "low", "high"))
    ms = [f"{row['ms_per_step'][g]:.3f}" for g in (HAND, OURS)]
    return [f"{middle:.2f}", f"{low:.2f} to {high:.2f}", *ms]


if __name__ == "__main__":
    main()
