"""What a step on a mini-batch from the host costs in NumPyro: `run_batches` against a loop by hand.

    python benchmarks/batches.py [--sizes S M] [--rounds 9] [--json FILE]

The loop by hand is `jax.jit(svi.update)` on one mini-batch of NumPy arrays after the other. Both take the
same ones, of the reference program with the auxiliary guide, in single precision. Compiling is left out, and
so is tracing, which `run_batches` does once in every call; it is told beside. Rounds are taken in turns;
printed is the ratio of the times of a step, with its 95 % interval. Below one is in favour of `run_batches`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpyro import optim
from numpyro.infer import SVI, Trace_ELBO
from reporting import console, facts, print_facts, print_table, write_json

from numpyro_impl import CompiledSVI, build
from twinplate.bench.timing import ratio, timed
from twinplate.bench.workload import SIZES, make_workload

STEPS = {"S": 600, "M": 60, "L": 20}  # of a round


def measure(size: str, rounds: int) -> dict[str, Any]:
    """One row: the ratio, and both medians in milliseconds a step."""
    work, steps = make_workload(SIZES[size]), STEPS[size]
    pair, x = build(work.program, work.params), work.x.astype(np.float32)
    rows = np.random.default_rng(0).integers(len(x), size=(steps, work.size.batch_size))
    batches = [x[some] for some in rows]
    program = pair.model, pair.guide, optim.Adam(1e-3), Trace_ELBO()
    ours = CompiledSVI(*program, num_items=len(x))
    theirs = SVI(*program, num_items=len(x))
    start = theirs.init(jax.random.key(0), batches[0], init_params=pair.params)
    update = jax.jit(theirs.update)

    def by_hand(steps: int) -> float:
        state = start
        for batch in batches[:steps]:
            state, loss = update(state, batch)
        jax.block_until_ready(loss)
        return 0.0

    def by_run_batches(steps: int) -> float:
        before = ours.compile_seconds
        ours.run_batches(jax.random.key(0), batches[:steps], init_state=start, progress_bar=False)
        return ours.compile_seconds - before

    ways, rng = {"run_batches": by_run_batches, "by hand": by_hand}, np.random.default_rng(0)
    for way in ways.values():
        way(20)  # compiled
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    tracing = []
    for _ in range(rounds):
        for name in rng.permutation(list(ways)):
            outside, taken = timed(partial(ways[name], steps))
            seconds[name].append(taken - outside)
            tracing += [outside] if outside else []
    found = ratio(seconds["run_batches"], seconds["by hand"])
    medians = {name: float(np.median(times)) / steps * 1e3 for name, times in seconds.items()}
    told = float(np.median(tracing))
    return {"size": size, "steps": steps, **vars(found), "ms": medians, "tracing_s": told}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print every row; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["S", "M"], choices=list(STEPS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(training="Adam, float32", rounds=options.rounds)
    print_facts(known)
    rows = []
    for size in options.sizes:
        rows.append(measure(size, options.rounds))
        console.print(rows[-1])
        write_json(options.json, {"facts": known, "rows": rows})
    cells = [
        [
            r["size"],
            f"{r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})",
            f"{r['tracing_s']:.2f}",
        ]
        for r in rows
    ]
    print_table(
        "Time of a step: run_batches ÷ jit(svi.update)", ["size", "ratio", "tracing, s"], cells
    )


if __name__ == "__main__":
    main()
