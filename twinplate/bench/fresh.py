"""Whole runs of the ways to train, each in a process of its own that finds nothing compiled.

    python -m twinplate.bench.fresh '{"backend": "pyro", "way": "Pyro, ours, replayed", ...}'

prints the seconds of the first n steps as one line of JSON, [[n, seconds], ...]. What it takes to start
Python and to import the framework is left out. The process ends with that which started it, and with its end,
however that comes, its temporary files are gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import import_module
from math import inf
from typing import Any

from twinplate.backends import load_backend
from twinplate.bench.backend import IN_BACKGROUND, BenchBackend, Tell
from twinplate.bench.checks import kept_apart
from twinplate.bench.measure import Measured, Timing
from twinplate.bench.report import PYRO, PYRO_REPLAYED
from twinplate.bench.terms import threads
from twinplate.bench.totals import STEPS, to_pick
from twinplate.bench.workload import Size, Workload, make_workload
from twinplate.lifetime import LAUNCHER, end_with_launcher, ended, exit_on_sigterm
from twinplate.training.plan import CHUNK

SECONDS = 3.0  # that a run may take beyond its first step
PATIENCE = 1200.0  # seconds for a process; a compiler needs minutes on a busy machine

Totals = tuple[tuple[int, float], ...]


def with_totals(
    measured: Measured,
    work: Workload,
    backends: Mapping[str, BenchBackend],
    tell: Tell = lambda text: None,
) -> Measured:
    """The same with `totals` of the ways to pick, and a row for machine code made in the background.

    The way that waits for its compiler has none: it would only compile once more. On an accelerator there are
    none.
    """
    picked = {row.name for row in to_pick(measured.rows)} - {PYRO}
    if measured.device != "cpu" or not picked:
        return measured
    rows, failed = {row.name: row for row in measured.rows}, dict(measured.failed)
    for which, backend in backends.items():
        for name in filter(picked.__contains__, backend.routes(work, measured.device)):
            told = f"{name}, in a process of its own"
            tell(told)
            with kept_apart(told, failed):
                rows[name] = replace(rows[name], totals=run_apart(which, name, work, STEPS))
    if {PYRO, PYRO_REPLAYED} <= rows.keys():
        first = switch_step(rows[PYRO], rows[PYRO_REPLAYED])
        name = f"{IN_BACKGROUND} from step {first:,}"
        tell(name)
        with kept_apart(name, failed):
            marks = sorted({*(n for n in STEPS if n < first), first - 1, first})
            totals = run_apart("pyro", IN_BACKGROUND, work, marks, first)
            # Its later steps are those of the way that waits.
            rows[name] = replace(rows[PYRO], name=name, compile_s=totals[0][1], totals=totals)
    return replace(measured, rows=[*rows.values()], failed=failed)


def switch_step(compiled: Timing, replayed: Timing) -> int:
    """1, 2 or 5 times a power of ten: the most such replayed steps that compiling takes, 10 or more."""
    most = compiled.compile_s * 1e3 / replayed.median_ms
    steps = (m * 10**power for power in range(1, 7) for m in (1, 2, 5))
    return max((n for n in steps if n <= most), default=10)


def run_apart(
    backend: str, way: str, work: Workload, marks: Any, first: int | None = None
) -> Totals:
    """Seconds of the first n steps for those n of `marks` that a run comes to.

    first: the step from which on steps are machine code; such a run comes to all of them.
    """
    request = {
        "backend": backend,
        "way": way,
        "size": asdict(work.size),
        "guide": work.program.config.guide,
        "marks": [*marks],
        "first": first,
    }
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "twinplate.bench.fresh", json.dumps(request)],
        env=os.environ | {"PYTHONPATH": path, LAUNCHER: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is the caller's, who ends it
    )
    with process, ended(process):
        found, said = process.communicate(timeout=PATIENCE)
    if process.returncode:
        lines = said.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"it ended with code {process.returncode}")
    return tuple((n, seconds) for n, seconds in json.loads(found.splitlines()[-1]))


def take(request: dict[str, Any]) -> list[tuple[int, float]]:
    """What `run_apart` asks for, in this process."""
    backend: BenchBackend = import_module(
        f"{load_backend(request['backend']).__name__}.bench.routes"
    )
    work, first = make_workload(Size(**request["size"]), request["guide"]), request["first"]
    with backend.equal_terms(threads()):
        ways = backend.routes(work, "cpu") | backend.ours(work, "cpu", first)
        route = ways[request["way"]]
        return seconds_until(work, route, request["marks"], SECONDS if first is None else inf)


def seconds_until(work: Workload, route: Any, marks: list[int], most: float) -> list[Any]:
    """Seconds of the first n steps for those n of `marks`, which ascend, that take about `most` or less.

    They are taken one at a time, and beyond CHUNK as many at a time: NumPyro's stock loop is compiled for
    each number of steps, and so for two.
    """
    chunks = {n: work.chunk(n) for n in (1, CHUNK)}  # made before, as the data are
    found: list[tuple[int, float]] = []
    done, started = 0, time.perf_counter()
    run = route.start()
    for mark in marks:
        if done > 1:
            before, last = found[-2] if len(found) > 1 else (0, 0.0), found[-1]
            each = (last[1] - before[1]) / (last[0] - before[0])
            if last[1] - found[0][1] + each * (mark - done) > most:
                break
        while done < mark:
            steps = CHUNK if done >= CHUNK <= mark - done else 1
            run(chunks[steps])
            done += steps
        found.append((mark, time.perf_counter() - started))
    return found


if __name__ == "__main__":
    exit_on_sigterm()
    end_with_launcher()
    print(json.dumps(take(json.loads(sys.argv[1]))))
