"""How many random starts diverge: the shipped densities beside each framework's stock ones.

    python benchmarks/divergence.py [--starts 64] [--json FILE]

A start diverged if a loss or parameter is not finite, if the framework raised, if the loss *reports*
an ELBO (mean over 100 consecutive steps) more than 1 nat per item above the exact log evidence, or
if the guide's *exact* expected ELBO is above it by as much, which no valid Gaussian can be. With
`--json`, rows already in the file are not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from problem import Problem, Size, add_size_arguments, make_problem, size_from
from recipes import Recipe, constant_rate
from reporting import compile_once, console, facts, print_facts, print_table, write_json

from twinplate.programs.config import COVARIANCES, TrainingConfig
from twinplate.training.errors import NonFiniteLossError
from twinplate.training.state import Array

WINDOW = 100  # steps
MARGIN = 1.0  # nat per item

RECIPES = {
    "shipped": Recipe(),
    "shipped-landing": Recipe(estimator="sticking-the-landing"),
    "stock": Recipe(stock=True),
    "stock-textbook": Recipe(encoder="textbook", stock=True),
    "shipped-textbook": Recipe(encoder="textbook"),
    "shipped-hidden": Recipe(hidden=0.3),
    "shipped-experts-hidden": Recipe(encoder="experts", hidden=0.3),
}
KEYS = ("recipe", "backend", "schedule", "covariance")
SCHEDULES = {"constant": (1e-3, 1000), "cosine": (1e-2, 3000)}  # learning rate, steps


@dataclass(frozen=True)
class Outcome:
    """What became of one start: excesses over the log evidence and the KL missed, nats per item."""

    finite: bool
    reported: float
    missed: float
    raised: str = ""

    @property
    def diverged(self) -> bool:
        """By any of the four signs."""
        return not self.finite or self.reported > MARGIN or -self.missed > MARGIN


def reported_excess(losses: Array, log_evidence: float) -> float:
    """Largest mean of `WINDOW` consecutive reported ELBOs per item, minus the log evidence."""
    window = min(WINDOW, len(losses))
    total = np.cumsum(np.concatenate([[0.0], -losses]))
    return float(((total[window:] - total[:-window]) / window).max() - log_evidence)


def start(recipe: Recipe, backend: str, problem: Problem, training: TrainingConfig) -> Outcome:
    """Fit from one seed and judge the result."""
    try:
        fit = recipe.fit(backend, problem, training)
    except NonFiniteLossError:
        return Outcome(False, np.inf, np.inf)
    except RuntimeError as error:  # torch raises where a matrix is not positive definite
        return Outcome(False, np.inf, np.inf, raised=str(error).splitlines()[0])
    if not np.isfinite(fit.losses).all():
        return Outcome(False, np.inf, np.inf)
    missed = recipe.missed(backend, problem, fit)
    return Outcome(
        bool(np.isfinite(missed)), reported_excess(fit.losses, problem.log_evidence), missed
    )


def measure(key: dict[str, str], problem: Problem, options: argparse.Namespace) -> dict[str, Any]:
    """One row: every start of one recipe, framework, schedule and covariance."""
    recipe = replace(RECIPES[key["recipe"]], covariance=key["covariance"])
    rate, steps = SCHEDULES[key["schedule"]]
    started = time.perf_counter()
    outcomes = []
    with constant_rate() if key["schedule"] == "constant" else nullcontext():
        for seed in range(options.starts):
            training = TrainingConfig(
                options.steps or steps,
                problem.size.batch_size,
                learning_rate=rate,
                seed=seed,
                device="cpu",
            )
            outcomes.append(start(recipe, key["backend"], problem, training))
    sound = [outcome.missed for outcome in outcomes if not outcome.diverged]
    return {
        **key,
        "starts": options.starts,
        "diverged": sum(o.diverged for o in outcomes),
        "not_finite": sum(not o.finite and not o.raised for o in outcomes),
        "raised": sum(bool(o.raised) for o in outcomes),
        "reported_above": sum(o.finite and o.reported > MARGIN for o in outcomes),
        "exact_above": sum(-o.missed > MARGIN for o in outcomes),
        "diverged_seeds": [seed for seed, o in enumerate(outcomes) if o.diverged],
        "missed_median": float(np.median(sound)) if sound else None,
        "missed_worst": max(sound) if sound else None,
        "seconds": round(time.perf_counter() - started, 1),
    }


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    missed = [row["missed_median"], row["missed_worst"]]
    return [
        *(row[name] for name in KEYS),
        f"{row['diverged']} of {row['starts']}",
        *(str(row[sign]) for sign in ("not_finite", "raised", "reported_above", "exact_above")),
        *("–" if value is None else f"{value:.4g}" for value in missed),
    ]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = {
        "recipes": RECIPES,
        "backends": ["numpyro", "pyro"],
        "schedules": SCHEDULES,
        "covariances": COVARIANCES,
    }
    parser.add_argument("--starts", type=int, default=64)
    parser.add_argument("--steps", type=int, help="instead of the schedules' own")
    for name, known in choices.items():
        parser.add_argument(f"--{name}", nargs="+", default=list(known), choices=list(known))
    parser.add_argument("--json", type=Path)
    add_size_arguments(parser)
    return parser.parse_args(arguments)


def wanted(options: argparse.Namespace) -> list[dict[str, str]]:
    """The rows asked for, in order."""
    chosen = (options.recipes, options.backends, options.schedules, options.covariances)
    return [dict(zip(KEYS, row, strict=True)) for row in itertools.product(*chosen)]


def earlier_rows(path: Path | None, known: dict[str, Any]) -> list[dict[str, Any]]:
    """What an earlier run left in `path`; exits if it was a run of something else."""
    if path is None or not path.exists():
        return []
    content = json.loads(path.read_text())
    if content["facts"] != known:
        raise SystemExit(
            f"{path} holds rows of another size, machine or version; name another file"
        )
    rows: list[dict[str, Any]] = content["rows"]
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure every row not yet measured, printing each as it is done, then the table."""
    options = parse(arguments)
    size: Size = size_from(options)
    schedules = "constant 1e-3 × 1,000 steps; cosine from 1e-2 × 3,000 steps"
    if options.steps:
        schedules = f"both schedules cut to {options.steps} steps"
    known = facts(
        size=vars(size), training=f"{schedules}; float32", seeds=f"0 to {options.starts - 1}"
    )
    print_facts(known)
    rows = earlier_rows(options.json, known)
    for key in wanted(options):
        if any(key.items() <= row.items() for row in rows):
            continue
        rows.append(measure(key, make_problem(size, RECIPES[key["recipe"]].hidden), options))
        console.print(" | ".join(cells(rows[-1])))
        write_json(options.json, {"facts": known, "rows": rows})
    columns = [*KEYS, "diverged", "not finite", "raised", "reported above", "exact above"]
    columns += ["KL of the rest: median", "worst"]
    print_table("Starts that diverged, by sign", columns, [cells(row) for row in rows])


if __name__ == "__main__":
    compile_once()
    main()
