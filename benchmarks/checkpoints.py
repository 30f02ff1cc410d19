"""What checkpoints cost a fit: the time that one takes beside the seconds of work between two of them.

    python benchmarks/checkpoints.py [--sizes S M L] [--rounds 15] [--json FILE]

Both twins on the reference program with the auxiliary guide, after 100,000 steps' worth of losses. A
checkpoint is the copy of the state from the device, five files, their checksums and seven waits for the disk.
Printed is the median share of the default interval, and how long reading the run takes, which is what going
on adds to the start of a fit.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.backends import load_backend
from twinplate.bench.workload import SIZES, make_workload
from twinplate.commands.checkpoints import EVERY
from twinplate.commands.training_run import extended
from twinplate.programs.config import TrainingConfig
from twinplate.training.run_directory import begun, read_newest
from twinplate.training.run_format import SavedRun
from twinplate.training.state import Fit

LOSSES = 100_000


def measure(backend: str, size: str, rounds: int) -> dict[str, Any]:
    """One row: seconds of a checkpoint and of reading it, medians, and the share of the interval."""
    work = make_workload(SIZES[size])
    training = TrainingConfig(steps=100, batch_size=work.size.batch_size, device="cpu")
    trainer = load_backend(backend).Trainer(work.x, work.program, training)
    config = {"program": work.program.config.as_dict(), "training": training.as_dict()}
    nothing = [trainer.state.params] * 4
    run = SavedRun(config, {}, {}, *nothing, work.program.fixed, np.zeros(0), 0)
    losses = np.random.default_rng(0).normal(size=LOSSES)
    writing, reading = [], []
    with TemporaryDirectory() as folder, begun(Path(folder) / "run", run) as writer:
        for _ in range(rounds):
            started = time.perf_counter()
            writer.checkpoint(extended(run, Fit(trainer.state, losses)))
            kept = time.perf_counter()
            read_newest(writer.path)
            writing.append(kept - started)
            reading.append(time.perf_counter() - kept)
    seconds = float(np.median(writing))
    return {
        "backend": backend,
        "size": size,
        "seconds": seconds,
        "share": seconds / EVERY,
        "reading": float(np.median(reading)),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print every row; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["S", "M", "L"], choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(training=f"{LOSSES} losses, float32", rounds=options.rounds)
    print_facts(known)
    rows = []
    for backend in ("pyro", "numpyro"):
        for size in options.sizes:
            rows.append(measure(backend, size, options.rounds))
            console.print(rows[-1])
            write_json(options.json, {"facts": known, "rows": rows})
    cells = [
        [r["backend"], r["size"], f"{r['share']:.3%}", f"{r['seconds']:.3f}", f"{r['reading']:.3f}"]
        for r in rows
    ]
    columns = ["backend", "size", "share of the interval", "s, a checkpoint", "s, reading"]
    print_table(f"A checkpoint every {EVERY:g} s", columns, cells)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
