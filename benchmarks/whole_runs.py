"""What n steps take in all, from the first on: Pyro's own, under its jit, replayed, and machine code.

    python benchmarks/whole_runs.py [--steps 1 10 100 1000] [--programs vae ...] [--repeats 3] [--json FILE]
    python benchmarks/whole_runs.py --steps 100 1000 10000 --from-step 5000 --programs seed_event

Every run is a process of its own with one thread, the ways in turns; frameworks are imported before the
clock starts. Records, compiling and waiting count. Jit: Pyro's losses for torch's jit, such as
`JitTraceEnum_ELBO`, where there is one and it takes the program. With `--from-step` runs that reach that step
take machine code from there on too, compiled in the background: with nothing on disk, and once more with
what that left there. Printed are the median seconds of the first n steps ÷ those of ours, how many
seconds later than Pyro's ours were, and by how much the peak of the memory grew in each way.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from programs import NAMES, load
from pyro import infer
from reporting import console, facts, print_facts, print_table, write_json

from pyro_impl import CompiledSVI
from twinplate.host import peak_memory
from twinplate.lifetime import end_with_launcher

WAYS = ("pyro", "jit", "replay")
MACHINE_CODE = ("cold", "warm")
COMPARED = (("pyro", "replay"), ("jit", "replay"), ("pyro", "cold"), ("pyro", "warm"))


class Run(NamedTuple):
    """seconds: of the first n steps, n by n.  memory: megabytes by which the process's peak grew."""

    seconds: list[float]
    memory: float


def run(name: str, way: str, marks: list[int], first: int | None) -> Run | None:
    """A whole run of `marks[-1]` steps, apart from others; None where a way does not take the program."""
    torch.set_num_threads(1)
    pyro.set_rng_seed(1)
    program = load(name)
    parts = program.model, program.guide, program.optim()
    if way == "jit":
        loss = jitted(program.loss)
        if loss is None:
            return None
        svi = infer.SVI(*parts, loss)
    elif way == "pyro":
        svi = infer.SVI(*parts, program.loss)
    elif way == "replay":
        svi = CompiledSVI(*parts, program.loss)
    else:
        svi = CompiledSVI(*parts, program.loss, machine_code=first)
    found, before, started = [], peak_memory(), time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the jit has some at every operation
            for number in range(marks[-1]):
                svi.step(*program.arguments(number))
                if number + 1 in marks:
                    found.append(time.perf_counter() - started)
    except Exception:  # what torch's jit raises of a program that it does not take is of many kinds
        if way != "jit":
            raise
        return None
    return Run(found, (peak_memory() - before) / 1e6)


def jitted(loss: Any) -> Any:
    """Pyro's loss of the same kind for torch's jit; None where there is none."""
    kind = getattr(infer, f"Jit{type(loss).__name__}", None)
    if kind is None:
        return None
    options = ("num_particles", "max_plate_nesting", "vectorize_particles")
    return kind(**{name: getattr(loss, name) for name in options}, ignore_jit_warnings=True)


def measured(name: str, marks: list[int], repeats: int, first: int | None) -> dict[str, Any]:
    """One row: median seconds of each way, n by n."""
    with_code = first is not None and first < marks[-1]
    ways = [*WAYS, *(MACHINE_CODE if with_code else ())]
    runs: dict[str, list[Run | None]] = {way: [] for way in ways}
    for _ in range(repeats):
        # The compiler's own files too: "cold" is the first time on a machine.
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
            for way in ways:
                runs[way].append(apart(name, way, marks, first))
    row: dict[str, Any] = {"program": name, "steps": marks, "memory": {}}
    for way, many in runs.items():
        if done := [found for found in many if found is not None]:
            row[way] = np.median([found.seconds for found in done], axis=0).tolist()
            row["memory"][way] = float(np.median([found.memory for found in done]))
    return row


def apart(*arguments: Any) -> Run | None:
    """`run` in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_launcher) as pool:
        return pool.submit(run, *arguments).result()


def cells(row: dict[str, Any]) -> list[list[str]]:
    """Lines of the table: one for each n."""
    found = []
    for i, steps in enumerate(row["steps"]):
        ratios = [
            f"{row[longer][i] / row[ours][i]:.2f}" if longer in row and ours in row else ""
            for longer, ours in COMPARED
        ]
        later = row["replay"][i] - row["pyro"][i]
        memory = (
            " ".join(f"{way} {size:.0f}" for way, size in row["memory"].items()) if not i else ""
        )
        found.append([row["program"], f"{steps:,}", *ratios, f"{later:+.2f}", memory])
    return found


def print_summary(rows: list[dict[str, Any]], marks: list[int]) -> None:
    """Worst and median ratio over programs, and the most that ours is late, beyond 5 % of Pyro's time."""
    for i, steps in enumerate(marks):
        ratios = np.array([row["pyro"][i] / row["replay"][i] for row in rows])
        late = max(row["replay"][i] - 1.05 * row["pyro"][i] for row in rows)
        console.print(
            f"{steps:,} steps: Pyro ÷ replay {ratios.min():.2f} at worst, {np.median(ratios):.2f} in the "
            f"median; replay at most {late:+.2f} s beyond 1.05 of Pyro's time"
        )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write JSON as it goes where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 10, 100, 1000], metavar="N")
    parser.add_argument("--programs", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--from-step", type=int, help="from which on machine code is taken")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    marks = sorted(options.steps)
    known = facts(from_step=options.from_step, repeats=options.repeats)
    print_facts(known)
    rows = []
    for name in options.programs:
        rows.append(measured(name, marks, options.repeats, options.from_step))
        for line in cells(rows[-1]):
            console.print(" | ".join(line))
        write_json(options.json, {"facts": known, "rows": rows})
    heads = [
        "program",
        "steps",
        "Pyro ÷ replay",
        "jit ÷ replay",
        "Pyro ÷ machine code, cold",
        "warm",
    ]
    lines = [line for row in rows for line in cells(row)]
    print_table("Seconds in all", [*heads, "replay later by, s", "peak, MB more"], lines)
    print_summary(rows, marks)


if __name__ == "__main__":
    main()
