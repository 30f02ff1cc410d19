"""What several fits in one compiled program cost: NumPyro's `fit_many` against `fit` of each seed.

    python benchmarks/restarts.py [--fits 1 2 4 8 16] [--steps 1000] [--json FILE]

Size S, auxiliary guide, full covariance, single precision. Below one is in favour of one program. Compiling
is left out of the times and told beside them: of one program of all fits, and of that of single fits, which
all but the first find on disk, as any of them does what an earlier run has left there.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from problem import make_problem
from reporting import console, facts, print_facts, print_table, write_json

from numpyro_impl import fit, fit_many
from twinplate.bench.timing import ratio, timed
from twinplate.bench.workload import Size
from twinplate.programs.config import TrainingConfig

ROUNDS = 7
FITS = (1, 2, 4, 8, 16)


def measure(fits: int, steps: int) -> dict[str, Any]:
    """One row: seconds of both ways round by round, and what compiling took the first time."""
    problem = make_problem(Size())
    program, batch_size = problem.program(), problem.size.batch_size

    def training(seed: int) -> TrainingConfig:
        return TrainingConfig(steps, batch_size, seed=seed, device="cpu")

    def together() -> tuple[float, float]:
        done, seconds = timed(partial(fit_many, problem.x, program, training(0), seeds=range(fits)))
        assert not done.diverged.any()
        return seconds - done.compile_seconds, done.compile_seconds

    def apart() -> tuple[float, float]:
        done, seconds = timed(
            lambda: [fit(problem.x, program, training(seed)) for seed in range(fits)]
        )
        compiling = sum(one.compile_seconds for one in done)
        return seconds - compiling, compiling

    ways, rng = {"together": together, "apart": apart}, np.random.default_rng(0)
    compiling = {name: way()[1] for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name in rng.permutation(list(ways)):
            seconds[name].append(ways[name]()[0])
    found = ratio(seconds["together"], seconds["apart"])
    return {"fits": fits, "steps": steps, **vars(found), "compiling": compiling, "seconds": seconds}


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    compiling = [f"{row['compiling'][name]:.1f}" for name in ("together", "apart")]
    share = f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return [str(row["fits"]), share, *compiling]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", nargs="+", type=int, default=FITS)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(rounds=ROUNDS, steps=options.steps, size=vars(Size()))
    print_facts(known)
    rows = []
    for fits in options.fits:
        rows.append(measure(fits, options.steps))
        console.print(" | ".join(cells(rows[-1])))
        write_json(options.json, {"facts": known, "rows": rows})
    columns = ["fits", "time", "compiling together, s", "compiling apart, s"]
    title = "R fits in one program ÷ one after the other, median (95 %)"
    print_table(title, columns, [cells(row) for row in rows])


if __name__ == "__main__":
    main()
