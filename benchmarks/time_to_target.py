"""Time to within 0.05 nat per item of the exact log evidence: ours, and the stock recipe.

    python benchmarks/time_to_target.py [--items 100000] [--json FILE]

Both sides have the same encoder, data, batches and schedule (cosine, three first rates, the best
counts), and start near the standard normal; in Pyro ours is measured replayed and, as "eager", not.
"started" is ours as `fit` has it by default, from the posterior of the given loadings; making the program,
which reads all data, counts there. What a run has reached is its fit: the
average of ours, the last parameters of the stock recipe. A run that diverges is stopped when that shows
and begins again with the next seed, and one that ends without having arrived does so too: all their time
counts. Diverged: a loss or parameter that is not finite, an error of the framework, or an ELBO, reported
or exact, more than 1 nat per item above the exact log evidence. Seconds, runs and steps are those for
each arrival. Evaluation is not counted; compiling is told apart: that of the first run in this process,
the compiler's own start included. "Whole" is the time if each of the runs went to its end, where a single
call trains and nobody looks before.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from divergence import MARGIN
from problem import Problem, make_problem
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.backends import load_backend
from twinplate.bench.terms import equal_terms, load_bench_backends
from twinplate.bench.timing import timed
from twinplate.bench.workload import Size, Workload
from twinplate.programs.config import TrainingConfig
from twinplate.programs.parameters import initial_params
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.training.plan import Chunk, chunks, cosine
from twinplate.training.state import Array, TrainingState

WITHIN = 0.05  # nat per item
FASTER = 2.5  # times
RATES = (3e-3, 1e-2, 2e-2)
GENTLE = 1e-6  # a rate at which nothing diverges, to see how long a chunk takes once compiled
ITEMS_JUDGED = 4096  # the first ones: items are independent draws
EVERY = 50  # steps between two looks at what a run has reached, on either side
SIDES = {"numpyro": ("started", "ours", "stock"), "pyro": ("started", "ours", "eager", "stock")}
DRAWS = 2000  # of the bootstrap


@dataclass
class Attempt:
    """A run under way: `advance(chunk)` takes steps, `params()` are the parameters now."""

    advance: Callable[[Chunk], Array]
    params: Callable[[], Params]


@dataclass(frozen=True)
class Campaign:
    """From the first seed until a run arrived, or seeds ran out.

    seconds: of training, compiling left out.  runs: how many it took.
    """

    arrived: bool
    seconds: float
    runs: int
    steps: int


def begin(
    side: str, backend: str, problem: Problem, program: ReferenceProgram, training: TrainingConfig
) -> Attempt:
    """A fresh run from the parameters of `training.seed`."""
    first = initial_params(program, training.seed)
    if side != "stock":
        module = import_module(f"{load_backend(backend).__name__}.training.trainer")
        how = {"compiled": side != "eager"} if backend == "pyro" else {}
        state = TrainingState.start(first)
        trainer = module.Trainer(problem.x, program, training, state=state, **how)
        return Attempt(trainer.run, lambda: trainer.state.average)
    recipe = import_module(f"{load_backend(backend).__name__}.bench.stock").Stock
    work = Workload(problem.size, program, problem.x, first)
    stock = recipe(work, rate=schedule(backend, training))
    return Attempt(stock.run, lambda: stock.params)


def schedule(backend: str, training: TrainingConfig) -> Callable[[Any], Any]:
    """The learning rate of a step, as `twinplate.training.plan.cosine` has it, for the stock optimisers."""
    rate, steps = training.learning_rate, training.steps
    if backend == "pyro":
        return lambda step: float(cosine(rate, step, steps))
    jnp = import_module("jax.numpy")
    return lambda step: 0.5 * rate * (1 + jnp.cos(jnp.pi * step / steps))


def travel(
    attempt: Attempt, plan: Iterator[Chunk], missed: Callable[[Params], float], evidence: float
) -> tuple[bool, list[float], int]:
    """Train until it arrives, diverges or ends: whether it arrived, seconds of each chunk, steps."""
    seconds: list[float] = []
    steps = 0
    for chunk in plan:
        steps += len(chunk.rates)
        started = time.perf_counter()
        try:
            losses = attempt.advance(chunk)
        except (RuntimeError, ValueError, ArithmeticError):  # how frameworks and trainers stop
            seconds.append(time.perf_counter() - started)
            return False, seconds, steps
        seconds.append(time.perf_counter() - started)
        if not np.isfinite(losses).all() or -losses.mean() - evidence > MARGIN:
            return False, seconds, steps
        found = missed(attempt.params())
        if not np.isfinite(found) or found < -MARGIN:
            return False, seconds, steps
        if found <= WITHIN:
            return True, seconds, steps
    return False, seconds, steps


def campaign(
    fresh: Callable[[int], tuple[Attempt, Iterator[Chunk]]],
    missed: Callable[[Params], float],
    evidence: float,
    seeds: range,
    usual: float,
    spent: float = 0.0,
) -> Campaign:
    """Run after run until one arrives. What the first chunk of a run takes beyond `usual` is compiling.

    spent: seconds before the first run.
    """
    total, taken = spent, 0
    for runs, seed in enumerate(seeds, start=1):
        attempt, plan = fresh(seed)
        arrived, seconds, steps = travel(attempt, plan, missed, evidence)
        total += sum(seconds[1:]) + min(seconds[0], usual)
        taken += steps
        if arrived:
            return Campaign(True, total, runs, taken)
    return Campaign(False, total, len(seeds), taken)


def judged(backend: str, problem: Problem, program: ReferenceProgram) -> Callable[[Params], float]:
    """Mean KL to the exact posterior of the first items, in nats: what the ELBO misses."""
    x, implementation = problem.x[:ITEMS_JUDGED], load_backend(backend)

    def missed(params: Params) -> float:
        if not all(np.isfinite(values).all() for values in params.values()):
            return np.nan
        guide = implementation.posterior(x, program, params)
        return float(problem.generative.kl_to_posterior(x, guide).mean())

    return missed


def measure(
    key: dict[str, Any], problem: Problem, options: argparse.Namespace, evidence: float
) -> dict[str, Any]:
    """One row: a framework, a side and a first rate."""
    backend, side, rate = key["backend"], key["side"], key["rate"]
    program, spent = timed(problem.started_program if side == "started" else problem.program)
    spent = spent if side == "started" else 0.0
    missed = judged(backend, problem, program)

    def fresh(seed: int, rate: float = rate) -> tuple[Attempt, Iterator[Chunk]]:
        training = TrainingConfig(
            options.steps, problem.size.batch_size, rate, seed=seed, device="cpu"
        )
        plan = chunks(program.config, training, len(problem.x), matched=False)
        return begin(side, backend, problem, program, training), plan

    pilot, plan = fresh(0, GENTLE)
    times = [timed(partial(pilot.advance, chunk))[1] for chunk in itertools.islice(plan, 4)]
    usual = min(times)
    seeds = range(0, options.repeats * options.restarts, options.restarts)
    many = [
        campaign(fresh, missed, evidence, range(first, first + options.restarts), usual, spent)
        for first in seeds
    ]
    found = summary(many)
    whole = found["seconds"] / found["steps"] * found["runs"] * options.steps
    searches = [[c.seconds, c.arrived] for c in many]
    return {**key, **found, "compiling": times[0] - usual, "whole": whole, "searches": searches}


def summary(many: list[Campaign]) -> dict[str, float]:
    """How many arrived; seconds, runs and steps for each arrival, in all where there was none."""
    arrived = sum(c.arrived for c in many)
    price = {
        name: float(sum(getattr(c, name) for c in many)) / max(arrived, 1)
        for name in ("seconds", "runs", "steps")
    }
    return {"arrived": arrived, "repeats": len(many), **price}


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    return [
        row["backend"],
        row["side"],
        f"{row['rate']:g}",
        f"{row['arrived']} of {row['repeats']}",
        f"{row['seconds']:.2f}",
        f"{row['compiling']:.2f}",
        f"{row['whole']:.2f}",
        f"{row['runs']:.1f}",
        f"{row['steps']:,.0f}",
    ]


def best(rows: list[dict[str, Any]], backend: str, side: str) -> dict[str, Any] | None:
    """The row of the best rate: least time for each arrival; None if none ever arrived."""
    found = [row for row in rows if (row["backend"], row["side"]) == (backend, side)]
    arrived = [row for row in found if row["arrived"]]
    return min(arrived, key=lambda row: row["seconds"], default=None)


def interval(stock: dict[str, Any], ours: dict[str, Any]) -> tuple[float, float]:
    """95 % of stock ÷ ours, seconds for each arrival: searches drawn anew, with replacement."""
    rng = np.random.default_rng(0)

    def price(row: dict[str, Any]) -> Array:
        searches = np.array(row["searches"], float)
        seconds, arrived = np.moveaxis(
            searches[rng.integers(len(searches), size=(DRAWS, len(searches)))], 2, 0
        )
        return seconds.sum(1) / np.maximum(arrived.sum(1), 1)

    low, high = np.quantile(price(stock) / price(ours), (0.025, 0.975))
    return float(low), float(high)


def verdict(rows: list[dict[str, Any]], backend: str, side: str = "ours") -> str:
    """How much faster one of our ways is in one framework than the stock recipe, both at their best rates."""
    ours, stock = best(rows, backend, side), best(rows, backend, "stock")
    backend = backend if side == "ours" else f"{backend}, {side}"
    if ours is None:
        return f"{backend}: ours never arrived; target missed"
    if stock is None:
        of_stock = (ours["backend"], "stock")
        spent = min(r["seconds"] for r in rows if (r["backend"], r["side"]) == of_stock)
        met = (
            "met" if spent >= FASTER * ours["seconds"] else "undecided, more --restarts are needed"
        )
        return (
            f"{backend}: ours {ours['seconds']:.2f} s at {ours['rate']:g}; the stock recipe never arrived, "
            f"{spent:.2f} s or more spent; {met}"
        )
    times = stock["seconds"] / ours["seconds"]
    low, high = interval(stock, ours)
    compiled = [row["seconds"] + row["compiling"] for row in (stock, ours)]
    return (
        f"{backend}: ours {ours['seconds']:.2f} s at {ours['rate']:g}, stock "
        f"{stock['seconds']:.2f} s at {stock['rate']:g}: {times:.1f} times faster ({low:.1f} to {high:.1f}); "
        f"target ≥ {FASTER:g}, "
        f"{'met' if times >= FASTER else 'NOT met'} ({compiled[0] / compiled[1]:.1f} times with compiling, "
        f"{stock['whole'] / ours['whole']:.1f} in whole runs)"
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=700, help="of a run; its cosine ends there")
    parser.add_argument("--restarts", type=int, default=20, help="runs before giving up")
    parser.add_argument(
        "--repeats", type=int, default=5, help="of the search for a run that arrives"
    )
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--backends", nargs="+", default=["numpyro", "pyro"])
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure every row, printing each as it is done, then the table and the verdicts."""
    options = parse(arguments)
    problem = make_problem(Size(num_items=options.items))
    evidence = float(problem.generative.log_evidence(problem.x[:ITEMS_JUDGED]).mean())
    backends = {n: b for n, b in load_bench_backends().items() if n in options.backends}
    known = facts(
        size=vars(problem.size),
        training=f"cosine over {options.steps} steps, float32; within {WITHIN} nat, every {EVERY} steps",
        seeds=f"{options.repeats} times up to {options.restarts} seeds",
    )
    print_facts(known)
    rows: list[dict[str, Any]] = []
    often = mock.patch("twinplate.training.plan.CHUNK", EVERY)
    with equal_terms(backends), often, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered NaN")  # here that is a result
        run = partial(measure, problem=problem, options=options, evidence=evidence)
        sides = [(backend, side) for backend in options.backends for side in SIDES[backend]]
        for (backend, side), rate in itertools.product(sides, options.rates):
            rows.append(run({"backend": backend, "side": side, "rate": rate}))
            console.print(" | ".join(cells(rows[-1])))
            write_json(options.json, {"facts": known, "rows": rows})
    columns = ["backend", "side", "rate", "arrived", "seconds", "compiling", "whole"]
    columns += ["runs", "steps"]
    print_table(f"Time to within {WITHIN} nat per item", columns, [cells(row) for row in rows])
    for backend, side in sides:
        if side != "stock":
            console.print(verdict(rows, backend, side))


if __name__ == "__main__":
    main()
