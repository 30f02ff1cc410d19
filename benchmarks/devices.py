"""Mini-batches spread over 1, 2 and 4 devices: the time of a step, and the bytes that a device sends in it.

    python benchmarks/devices.py [--quick] [--sizes S M L] [--rounds 15] [--json FILE]

The devices are parts of one CPU: on two cores four of them cannot be faster than two, and the time says what
spreading costs, not what it gains. Printed is the median, over rounds in which the numbers of devices take
turns, of the time of a step as a multiple of that on one device. Bytes are those of the collectives in
NumPyro's compiled step, and of the all-reduce between Pyro's processes over gloo, each by a ring of n of
them, beside 2 (n - 1) / n times those of the gradients, the least for a sum of all of them. It can be less:
what the data cannot reach has no gradient in JAX, such as the weights of the encoder for missing entries
where none is missing.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import devices_pyro
import numpy as np
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.bench.workload import SIZES, make_workload
from twinplate.programs.config import TrainingConfig

NUMBERS = (1, 2, 4)  # of devices
STEPS = {"S": 100, "M": 30, "L": 5, "XL": 2}  # of a turn
WIDTHS = {"pred": 1, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
# How often its own bytes a device sends by a ring, n devices with (n - 1) / n of an array each time
RING = {"all-reduce": 2, "all-gather": 1, "reduce-scatter": 1, "all-to-all": 1}
COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(RING)}|collective-permute)(?:-start)?\(")


def bytes_sent(text: str, devices: int) -> float:
    """Bytes that each device sends in a step, by the text of the compiled loop of steps.

    >>> bytes_sent('%a = (f32[], f32[3,5]{1,0}) all-reduce(%b, %c), op_name="jit(loop)/while/body/sum"', 4)
    96.0
    """
    total = 0.0
    for line in text.splitlines():
        found = COLLECTIVE.search(line)
        if found and "while/body" in line:
            times = RING.get(found[2], devices / max(devices - 1, 1))
            total += times * (devices - 1) / devices * _size(found[1])
    return total


def _size(shapes: str) -> int:
    """Bytes of arrays written as in `f32[3,5]{1,0}`."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    return sum(WIDTHS[kind] * math.prod(map(int, filter(None, d.split(",")))) for kind, d in arrays)


def measure(size: str, precision: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each number of devices in NumPyro."""
    import jax

    from numpyro_impl import Trainer

    work = make_workload(SIZES[size])
    training = TrainingConfig(
        steps=STEPS[size], batch_size=work.size.batch_size, precision=precision, device="cpu"
    )
    spread = [None if n == 1 else jax.devices()[:n] for n in NUMBERS]
    trainers = [Trainer(work.x, work.program, training, devices=devices) for devices in spread]
    chunks = [next(trainer.plan()) for trainer in trainers]
    seconds = np.zeros((rounds + 1, len(NUMBERS)))
    for i in range(rounds + 1):  # of which the first compiles
        for j, (trainer, chunk) in enumerate(zip(trainers, chunks, strict=True)):
            started = time.perf_counter()
            trainer.run(chunk)
            seconds[i, j] = (time.perf_counter() - started) / STEPS[size]
    ratios = np.median(seconds[1:] / seconds[1:, :1], axis=0)
    width = 8 if precision == "float64" else 4
    gradients = width * sum(v.size for v in trainers[0].state.params.values())
    rows = []
    for n, ratio, trainer in zip(NUMBERS, ratios, trainers, strict=True):
        (compiled,) = trainer._loop._compiled.values()
        rows.append(
            {
                "framework": "numpyro",
                "size": size,
                "devices": n,
                "precision": precision,
                "ratio": float(ratio),
                "bytes": bytes_sent(compiled.as_text(), n) if n > 1 else 0.0,
                "bound": 2 * (n - 1) / n * gradients,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The table of all rows."""
    cells = [
        [
            row["framework"],
            row["size"],
            row["precision"],
            str(row["devices"]),
            f"{row['ratio']:.2f}",
            f"{row['bytes']:,.0f}",
            f"{row['bound']:,.0f}",
        ]
        for row in rows
    ]
    columns = ["framework", "size", "precision", "devices", "time of a step", "bytes", "bound"]
    print_table("Mini-batches spread over parts of one CPU", columns, cells)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print every row; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Size S, a few rounds.")
    parser.add_argument("--sizes", nargs="+", default=["S", "M", "L"], choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    sizes, rounds = (["S"], 3) if options.quick else (options.sizes, options.rounds)
    known = facts(rounds=rounds, devices="parts of one CPU")
    print_facts(known)
    rows: list[dict[str, Any]] = []
    for size in sizes:
        for precision in ("float32",) if options.quick else ("float32", "float64"):
            rows += measure(size, precision, rounds)
            rows += devices_pyro.measure(size, precision, rounds, STEPS[size])
            console.print(rows[-1])
            write_json(options.json, {"facts": known, "rows": rows})
    show(rows)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(max(NUMBERS)))
    main()
