"""What a fit of n steps takes in NumPyro as XLA compiles it quickly, and as it does by itself.

    python benchmarks/compile_effort.py [--steps 100 300 1000 3000] [--rounds 3] [--json FILE]

Whole fits, compiling included, without a cache of it on disk: of a tiny problem (200 items of 8 features, 3
components, mini-batches of 100) and at size S, in single precision with one thread, in turns. Printed are
medians of the seconds and the ratio. `fit` compiles quickly where a run is short by the rule of
`numpyro_impl/training/compiling.py`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.bench.timing import interleave, ratio
from twinplate.bench.workload import SIZES, Size, make_workload
from twinplate.programs.config import TrainingConfig

PROBLEMS = {"tiny": Size(200, 8, 3, 100, 32), "S": SIZES["S"]}
WAYS = {"quickly": np.inf, "by itself": 0.0}


def measure(name: str, steps: int, rounds: int) -> dict[str, Any]:
    """One row: medians of the seconds of both ways and the ratio of the first to the second."""
    from numpyro_impl import fit, quick_compilation

    work = make_workload(PROBLEMS[name])
    training = TrainingConfig(steps, work.size.batch_size, device="cpu")

    def whole(short: float) -> None:
        quick_compilation.SHORT = short
        fit(work.x, work.program, training)

    rounds_of = {way: lambda short=short: whole(short) for way, short in WAYS.items()}
    seconds = interleave(rounds_of, rounds, np.random.default_rng(0))
    found = ratio(seconds["quickly"], seconds["by itself"])
    size = steps * work.size.batch_size * work.num_parameters
    medians = {way: float(np.median(times)) for way, times in seconds.items()}
    return {"problem": name, "steps": steps, "size": size, **vars(found), "seconds": medians}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print every row; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", nargs="+", type=int, default=[100, 300, 1000, 3000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(training="fit, float32", rounds=options.rounds)
    print_facts(known)
    rows = []
    for name in PROBLEMS:
        for steps in options.steps:
            rows.append(measure(name, steps, options.rounds))
            console.print(rows[-1])
            write_json(options.json, {"facts": known, "rows": rows})
    cells = [
        [
            *(r["problem"], f"{r['steps']:,}", f"{r['size']:.1e}"),
            *(f"{r['seconds'][way]:.1f}" for way in WAYS),
            f"{r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})",
        ]
        for r in rows
    ]
    heads = ["problem", "steps", "parameters x items", *WAYS, "ratio"]
    print_table("Seconds of a fit, compiled", heads, cells)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # each fit compiles
    main()
