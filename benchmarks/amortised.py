"""One normal per item from an encoder, beside other guides on the same work: ELBO, steps, time, memory.

    python benchmarks/amortised.py [--quick] [--items 1000] [--alone] [--json FILE]

Models and data are those of `amortised_problems.py`, whose exact log evidence is the truth. Every guide takes
the same steps of the framework's own SVI and Adam, from each of two learning rates, of which the better
counts, down to zero along a cosine; mini-batches of 100, or all items where a guide of the framework is wrong
with mini-batches. Rows:

    elbo          at the end, nats per item; null where it is more than the truth, which is the log evidence
    steps         until it was within NEAR of what the guide by hand has in the end
    ms_per_step   `by hand` and `ours` in turns (ratio with its 95 % interval: `ratio`), others by themselves
    numbers       that are learned
    peak_mb       what a step allocates, with parameters and Adam's moments

`--alone` leaves the other guides out. `--quick` takes one model, N = 200 and fewer steps. A guide that
cannot do a model, or whose size grows with the square of the data and would be above MOST_SQUARED numbers,
has a row with the reason (`cannot`) instead.
"""

from __future__ import annotations

import argparse
import os
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from amortised_problems import MODELS, Problem, make_problem
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.bench.timing import interleave, ratio, timed

BATCH, PARTICLES = 100, 20
RATES = (1e-2, 3e-2)
STEPS, EVERY = 3000, 100
NEAR = 0.05  # nats per item
IMPOSSIBLE = 1.0  # nats above the truth, which no ELBO is
MOST_SQUARED = 1_000_000
TIMED_STEPS, ROUNDS = 30, 9
OURS, HAND = "ours", "by hand"
SQUARED = ("AutoMultivariateNormal", "AutoStructured")
EVENT_ONLY = {  # guides that join the numbers of an item only where they are one event, and why
    "AutoBatchedMultivariateNormal": "its batch is the first dims of a site, where the components are",
    "EasyGuide": "a group joins dims to the right of its plates; the components' plate is to the left",
}


def course(run: Any, steps: int) -> list[float]:
    """The ELBO after every EVERY steps."""
    found = []
    for _ in range(0, steps, EVERY):
        run.take(EVERY)
        found.append(run.elbo(PARTICLES))
    return found


def train(
    framework: str, problem: Problem, guide: str, steps: int, rates: tuple[float, ...]
) -> tuple[Any, float, list[float]]:
    """The run at the better rate, that rate, and its course."""
    make = import_module(f"amortised_{framework}").Run
    best: tuple[Any, float, list[float]] | None = None
    for rate in rates:
        run = make(problem, guide, rate, steps, BATCH)
        found = course(run, steps)
        if best is None or ended(found, problem) > ended(best[2], problem):
            best = run, rate, found
    assert best is not None
    return best


def ended(found: list[float], problem: Problem) -> float:
    """The last ELBO; -inf where it is no number, or more than there can be: the guide diverged."""
    last = found[-1]
    return last if last <= problem.truth + IMPOSSIBLE else -np.inf


def reached(found: list[float], wanted: float) -> int | None:
    """The number of steps after which the ELBO was so high for the first time."""
    return next((EVERY * (i + 1) for i, elbo in enumerate(found) if elbo >= wanted), None)


def why_not(guide: str, problem: Problem) -> str | None:
    """Why a guide cannot do a model; None where it can."""
    numbers = (len(problem.x) * problem.loadings.shape[1]) ** 2
    if guide in SQUARED and numbers > MOST_SQUARED:
        return f"a covariance of all data: {numbers:,} numbers"
    return None if problem.model == "event" else EVENT_ONLY.get(guide)


def measure(
    framework: str, problem: Problem, steps: int, rates: tuple[float, ...], alone: bool = False
) -> list[dict[str, Any]]:
    """A row for each guide; `alone` for the one by hand and ours."""
    peers = () if alone else import_module(f"amortised_{framework}").PEERS
    rows: list[dict[str, Any]] = []
    runs: dict[str, Any] = {}
    wanted = -np.inf
    for guide in (HAND, OURS, *peers):
        if guide in peers and problem.model == "event" and guide not in EVENT_ONLY:
            continue  # to these the model is `linear`
        asked = {
            "model": problem.model,
            "framework": framework,
            "guide": guide,
            "items": len(problem.x),
        }
        if guide in peers and (reason := why_not(guide, problem)):
            rows.append({**asked, "cannot": reason})
            continue
        run, rate, found = train(framework, problem, guide, steps, rates)
        if guide == HAND:
            wanted = found[-1] - NEAR
        elbo = ended(found, problem)
        row = {
            **asked,
            "elbo": elbo if np.isfinite(elbo) else None,
            "truth": problem.truth,
            "steps": reached(found, wanted) if np.isfinite(elbo) else None,
            "rate": rate,
            "ms_per_step": 1e3
            * min(timed(lambda r=run: r.take(TIMED_STEPS))[1] for _ in range(3))
            / TIMED_STEPS,
            "numbers": run.numbers,
            "peak_mb": run.peak_mb,
        }
        console.print(row)
        rows.append(row)
        if guide in (HAND, OURS):
            runs[guide] = run
    seconds = interleave(
        {n: lambda r=run: r.take(TIMED_STEPS) for n, run in runs.items()},
        ROUNDS,
        np.random.default_rng(0),
    )
    for row in rows[:2]:
        row["ms_per_step"] = 1e3 * float(np.median(seconds[row["guide"]])) / TIMED_STEPS
    rows[1]["ratio"] = vars(ratio(seconds[OURS], seconds[HAND]))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure every model in both frameworks; rows are written as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--frameworks", nargs="+", choices=("numpyro", "pyro"), default=["numpyro", "pyro"]
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--alone", action="store_true", help="the guide by hand and ours")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    models, items, steps, rates = options.models, options.items, options.steps, RATES
    if options.quick:
        models, items, steps, rates = ["contrast"], min(items, 200), min(steps, 600), RATES[:1]
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # torch's profiler has much to say
    known = facts(steps=steps, items=items, rates=list(rates), batch_size=BATCH, seed=0)
    print_facts(known)
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in models:
            problem = make_problem(model, items)
            for framework in options.frameworks:
                rows += measure(framework, problem, steps, rates, options.alone)
                write_json(options.json, {"facts": known, "rows": rows})
    _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    cells = [
        [
            f"{r['model']}, {r['framework']}, {r['guide']}",
            "diverged" if r["elbo"] is None else f"{r['elbo']:.3f}",
            "–" if r["elbo"] is None else f"{r['truth'] - r['elbo']:.3f}",
            "–" if r["steps"] is None else f"{r['steps']:,}",
            f"{r['ms_per_step']:.2f}",
            f"{r['numbers']:,}",
            f"{r['peak_mb']:.1f}",
        ]
        for r in rows
        if "cannot" not in r
    ]
    columns = ["guide", "ELBO", "gap", "steps", "ms a step", "numbers", "MB"]
    print_table("Nats per item", columns, cells)
    for r in rows:
        if "cannot" in r:
            console.print(f"{r['model']}, {r['framework']}, {r['guide']} cannot: {r['cannot']}")


if __name__ == "__main__":
    main()
