"""A step of training with many components: products with the triangle row by row, and of a filled matrix.

    python benchmarks/many_components.py [--sizes 128:512 256:512 512:1024] [--rounds 9] [--json FILE]

The reference program with the auxiliary guide and a full covariance, D = 64, in single precision, of sizes
K:B, and of K:B:H for another width H of the encoder than 64. Row by row is how training goes on a CPU beyond
64 components; otherwise the triangle is packed, and filled beyond 128. Both take turns, a step at a time, the
mini-batch at once whatever the memory. Printed are the medians of the time of the processor and their
ratio, round by round, with its 95 % interval. Below one is in favour of rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from growth_point import Point, prepare
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.backends import load_backend
from twinplate.bench.timing import ratio
from twinplate.programs.config import TrainingConfig
from twinplate.programs.triangle import ROWS_ABOVE
from twinplate.seeds import batch_indices
from twinplate.training.plan import Chunk

WARM = 2  # steps before the first that is timed; they compile, and are recorded
WAYS: dict[str, dict[str, Any]] = {
    "numpyro": {},
    "pyro, eager": {"compiled": False},
    "pyro, replayed": {},
}
LIMITS = {"rows": ROWS_ABOVE, "before": 2**30}  # components up to which products are not row by row


def start(way: str, point: Point, form: str) -> Callable[[], Any]:
    """A run that takes a step at each call, and whose products are of that form."""
    x, program = prepare(point)
    backend = load_backend(point.backend)
    triangle = import_module(f"{backend.__name__}.programs.triangle")
    training = TrainingConfig(10**6, point.batch_size, device="cpu")
    with mock.patch("twinplate.training.memory.fitting", return_value=point.batch_size):
        trainer = backend.Trainer(x, program, training, **WAYS[way])
    indices = batch_indices(0, 0, 1, point.num_items, point.batch_size)
    numbers = iter(range(10**6))

    def step() -> Any:
        with mock.patch.object(triangle, "ROWS_ABOVE", LIMITS[form]):
            return trainer.run(Chunk(next(numbers), indices, np.full(1, 1e-6), {}))

    return step


def measure(way: str, size: str, rounds: int) -> dict[str, Any]:
    """One row."""
    k, b, *h = map(int, size.split(":"))
    point = Point(way.partition(",")[0], max(4096, b), 64, k, b, *h)
    runs = {form: start(way, point, form) for form in LIMITS}
    losses = [[run() for run in runs.values()] for _ in range(WARM)]
    np.testing.assert_allclose(losses[0][0], losses[0][1], rtol=1e-4)
    seconds: dict[str, list[float]] = {form: [] for form in runs}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for form in rng.permutation(list(runs)):
            before = time.process_time()
            runs[form]()
            seconds[form].append(time.process_time() - before)
    medians = {form: float(np.median(taken)) * 1e3 for form, taken in seconds.items()}
    return {"size": size, "way": way, "ms": medians, **vars(ratio(*seconds.values()))}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print every row; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["128:512", "256:512", "512:1024"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(rounds=options.rounds)
    print_facts(known)
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        for way in options.ways:
            rows.append(measure(way, size, options.rounds))
            console.print(rows[-1])
            write_json(options.json, {"facts": known, "rows": rows})
    shown = [
        [
            row["size"],
            row["way"],
            *(f"{row['ms'][form]:.0f}" for form in LIMITS),
            f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
        ]
        for row in rows
    ]
    heads = ["K:B", "way", "rows, ms", "before, ms", "ratio"]
    print_table("Time of the processor in a step", heads, shown)


if __name__ == "__main__":
    main()
