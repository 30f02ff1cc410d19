"""Fits at default settings to a zoo of problems, healthy and sick, beside the stock recipe.

    python benchmarks/zoo.py [--quick] [--half development|held-out] [--kinds KIND ...]
        [--framework numpyro|pyro ...] [--stock EARLIER.json] [--json PATH]

Every problem of `zoo_problems.py` is fitted in 3,000 steps, sixty of them in 20,000 too; `--quick` takes
twenty problems of the development half, in 3,000 steps. With `--json` each row is written when it is done;
a run that was stopped goes on where it was, and a picture is drawn beside the file. The stock recipe takes
as long as ours, or longer: `--stock` takes its figures from rows that an earlier state of the code has
written. There are `--workers` processes, by default two, with one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from divergence import earlier_rows
from reporting import compile_once, facts, print_facts, write_json
from rich.console import Console
from zoo_judge import Outcome, judge
from zoo_problems import KINDS, development, held_out, quick, zoo
from zoo_report import draw, print_summary
from zoo_stock import Trained, train_stock
from zoo_truth import maximum_likelihood

from twinplate.backends import load_backend
from twinplate.lifetime import end_with_launcher
from twinplate.programs.config import TrainingConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.program import ReferenceProgram
from twinplate.training.errors import TrainingError
from twinplate.training.state import Array

STEPS, LONG_STEPS = 3_000, 20_000
HALVES = {"development": development, "held-out": held_out}
FRAMEWORKS = ("numpyro", "pyro")
KEYS = ("problem", "framework", "steps")

Row = dict[str, Any]
Task = tuple[str, str, int]  # problem, framework, steps
Train = Callable[[str, Array, ReferenceProgram, TrainingConfig], Trained]


def measure(task: Task, stock: Row | None = None) -> Row:
    """One row: ours, and the stock recipe unless `stock`, an earlier row of the same task, has it."""
    name, framework, steps = task
    problem = {p.name: p for p in zoo()}[name]
    x = problem.data()
    size = min(TrainingConfig().batch_size, len(x))
    training = TrainingConfig(steps, size)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        program = problem.program(x)
        k = problem.num_components
        best = maximum_likelihood(x, k) if problem.learned else problem.given()
        ours = run_judged(train_ours, framework, x, program, best, training)
    seconds = time.perf_counter() - started
    evidence = float(best.log_evidence(x).mean())
    if stock is None:
        theirs = _prefixed(run_judged(train_stock, framework, x, program, best, training))
    else:
        theirs = _from_earlier(stock, evidence)
    return {
        **dict(zip(KEYS, task, strict=True)),
        **{key: getattr(problem, key) for key in ("kind", "half", "healthy", "learned")},
        **ours.as_dict(),
        **theirs,
        "best": evidence,
        "seconds": round(seconds, 1),
        "said": sorted({f"{w.category.__name__}: {w.message}" for w in said}),
    }


def train_ours(
    framework: str, x: Array, program: ReferenceProgram, training: TrainingConfig
) -> Trained:
    """The shipped `fit`, at default settings."""
    fit = load_backend(framework).fit(x, program, training)
    return program, fit.params, fit.losses


def run_judged(
    train: Train,
    framework: str,
    x: Array,
    program: ReferenceProgram,
    best: LinearGaussian,
    training: TrainingConfig,
) -> Outcome:
    """What became of a run by `train`, however it ended. `best` is the best model known, or the one given."""
    try:
        trained, params, losses = train(framework, x, program, training)
    except TrainingError as error:
        return Outcome.without("stopped", error.fit.losses)
    except (RuntimeError, ValueError, ArithmeticError):  # how the frameworks stop
        return Outcome.without("stopped", np.zeros(0))
    return judge(framework, x, trained, best, params, losses)


def _from_earlier(row: Row, evidence: float) -> Row:
    """What an earlier row says of the stock recipe, with its gap to the best solution known now."""
    found = {key: value for key, value in row.items() if key.startswith("stock_")}
    if row["learned"] and found["stock_gap"] is not None:
        found["stock_gap"] += evidence - row["best"]
    return found


def _prefixed(outcome: Outcome) -> Row:
    return {f"stock_{key}": value for key, value in outcome.as_dict().items()}


def tasks(options: argparse.Namespace) -> list[Task]:
    """What is asked for: all in 3,000 steps first, then the long ones."""
    problems = quick() if options.quick else HALVES[options.half]() if options.half else zoo()
    chosen = [p for p in problems if p.kind in options.kinds]
    short = [(p.name, framework, STEPS) for p in chosen for framework in options.framework]
    if options.quick:
        return short
    long = [p for p in chosen if p.long]
    return short + [
        (p.name, framework, LONG_STEPS) for p in long for framework in options.framework
    ]


def measured(wanted: list[Task], stock: dict[Task, Row], workers: int) -> Iterator[Row]:
    """The rows, as they are done."""
    if workers == 1 or len(wanted) < 2:
        yield from (measure(task, stock.get(task)) for task in wanted)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin) as pool:
        rows = [pool.submit(measure, task, stock.get(task)) for task in wanted]
        try:
            yield from (row.result() for row in as_completed(rows))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin() -> None:
    """A process of the pool, which would wait for work for ever when this one is killed."""
    end_with_launcher()
    compile_once()


def by_task(rows: list[Row]) -> dict[Task, Row]:
    """Rows by problem, framework and steps."""
    return {(row["problem"], row["framework"], row["steps"]): row for row in rows}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 problems, 3,000 steps")
    parser.add_argument("--half", choices=list(HALVES), help="of the zoo; by default both")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--framework", nargs="+", default=FRAMEWORKS, choices=FRAMEWORKS)
    parser.add_argument("--stock", type=Path, help="rows of an earlier state of the code")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure every row not yet measured, telling each on stderr, then the summary."""
    options = parse(arguments)
    known = facts(training="defaults of TrainingConfig, float32", seeds="0 of each run")
    print_facts(known)
    rows = earlier_rows(options.json, known)
    stock = by_task(json.loads(options.stock.read_text())["rows"] if options.stock else [])
    wanted = tasks(options)
    missing = [task for task in wanted if task not in by_task(rows)]
    progress = Console(stderr=True, highlight=False, width=132)
    for row in measured(missing, stock, options.workers):
        rows.append(row)
        write_json(options.json, {"facts": known, "rows": rows})
        progress.print(f"{len(rows)} of {len(wanted)}: {told(row)}")
    done = by_task(rows)
    chosen = [done[task] for task in wanted]
    print_summary(chosen)
    if options.json:
        draw(chosen, options.json.with_suffix(".png"))


def told(row: Row) -> str:
    """One line about a row."""

    def end(prefix: str) -> str:
        gap, missed = row[f"{prefix}gap"], row[f"{prefix}missed"]
        numbers = "" if gap is None else f"gap {gap:.4f}, guide misses {missed:.4f}"
        words = ["diverged"] if row[f"{prefix}diverged"] else []
        if row[f"{prefix}excursions"]:
            words.append(f"{row[f'{prefix}excursions']} excursions")
        return ", ".join([*words, *([numbers] if numbers else [])])

    head = f"{row['problem']} {row['framework']} {row['steps']}, {row['seconds']} s"
    return f"{head}: {end('')} | stock: {end('stock_')}"


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "NPROC"):
        os.environ.setdefault(name, "1")
    compile_once()
    main()
