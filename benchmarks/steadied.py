"""How often a recipe of one's own diverges without and with `CompiledSVI(clip=5, net=True)`.

    python benchmarks/steadied.py [--framework numpyro|pyro ...] [--steps 3000] [--json PATH]

The stock recipe of `zoo_stock.py` (each framework's own ELBO, Adam at 1e-2 under a cosine, multivariate
normal; the start is at the principal components) on the twenty problems of `zoo.py --quick`, with neither
option, with the cut of gradients, and with the net beneath it. Printed are how many runs diverged, and over
problems on which none did the medians of the gap to maximum likelihood and of what the guide misses.
Seed 0, float32.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from divergence import earlier_rows
from reporting import compile_once, console, facts, print_facts, print_table, write_json
from zoo import run_judged
from zoo_problems import Problem, quick
from zoo_stock import train_stock
from zoo_truth import maximum_likelihood

from twinplate.programs.config import TrainingConfig
from twinplate.training.step_size import CLIP

FRAMEWORKS = ("numpyro", "pyro")
WAYS: dict[str, dict[str, Any]] = {
    "neither": {},
    "clip": {"clip": CLIP},
    "clip and net": {"clip": CLIP, "net": True},
}


def measure(problem: Problem, framework: str, way: str, steps: int) -> dict[str, Any]:
    """One row: what became of the run."""
    x, k = problem.data(), problem.num_components
    training = TrainingConfig(steps, min(TrainingConfig().batch_size, len(x)))
    best = maximum_likelihood(x, k) if problem.learned else problem.given()

    def train(*arguments: Any) -> Any:
        return train_stock(*arguments, **WAYS[way])

    outcome = run_judged(train, framework, x, problem.program(x), best, training)
    return {"problem": problem.name, "framework": framework, "way": way, **outcome.as_dict()}


def lines(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Of the table: one for each framework and way."""
    died = {(row["problem"], row["framework"]) for row in rows if row["diverged"]}
    for framework in FRAMEWORKS:
        for way in WAYS:
            group = [r for r in rows if (r["framework"], r["way"]) == (framework, way)]
            sound = [r for r in group if (r["problem"], framework) not in died]
            if group:
                yield [
                    *(framework, way),
                    f"{sum(row['diverged'] for row in group)} of {len(group)}",
                    *(_median(sound, name) for name in ("gap", "missed")),
                ]


def _median(rows: list[dict[str, Any]], name: str) -> str:
    return f"{np.median([row[name] for row in rows]):.4f}" if rows else "–"


def main(arguments: list[str] | None = None, problems: Callable[[], Any] = quick) -> None:
    """Measure every row not yet measured, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", nargs="+", default=FRAMEWORKS, choices=FRAMEWORKS)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(training=f"Adam, cosine over {options.steps} steps, float32", seeds="0")
    print_facts(known)
    rows = earlier_rows(options.json, known)
    done = {(row["problem"], row["framework"], row["way"]) for row in rows}
    for framework in options.framework:
        for problem in problems():
            for way in WAYS:
                if (problem.name, framework, way) in done:
                    continue
                rows.append(measure(problem, framework, way, options.steps))
                console.print(*(f"{value}" for value in rows[-1].values()), sep=" | ")
                write_json(options.json, {"facts": known, "rows": rows})
    heads = ["framework", "options", "diverged", "gap, median", "guide misses, median"]
    print_table("Runs of the stock recipe", heads, list(lines(rows)))


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "NPROC"):
        os.environ.setdefault(name, "1")
    compile_once()
    main()
