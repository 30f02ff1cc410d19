"""What a verdict costs, in seconds of CPU: the first time, and again with kept compilations.

    python benchmarks/verify.py [CASE ...] [--json FILE]

CASE is FILE:NAME of `equivalence_tests/pairs`, such as vae:CASE. Each is verified twice, by a process
of its own each time, with a compilation cache that is empty at first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reporting import facts, print_facts, print_table, write_json

PAIRS = Path(__file__).parents[1] / "equivalence_tests" / "pairs"
CASES = (
    "refactorings:CASE",
    "vae:CASE",
    "vae:CASE_NNX",
    "own_programs:CASE_AUXILIARY",
    "autoguides:CASE_MULTIVARIATE",
    "state_space:CASE",
    "hidden_markov:CASE",
    "gaussian_process:CASE",
    "nested_subsampling:CASE",
)
LOOKING, DOUBLE, SINGLE = "looking for sites", "float64", "float32"
# Columns: what a run of a case does, in this order
PHASES = ("import", "Pyro", "NumPyro's sites", "first double", "first single", "rest")


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)  # in the child
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps(once(options.cases[0])))
        return
    rows = [row for case in options.cases for row in both_times(case)]
    content = {"facts": facts(draws="0, 1, 2, stress"), "rows": rows}
    print_facts(content["facts"])
    print_table("Seconds of CPU", ["case", "time", *PHASES, "total"], [_shown(row) for row in rows])
    write_json(options.json, content)


def both_times(case: str) -> list[dict[str, Any]]:
    """Seconds by phase, with an empty cache and with the one that this left."""
    with tempfile.TemporaryDirectory(prefix="xla-") as folder:
        # Where verify keeps its compilations: below the user's cache directory.
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, __file__, case, "--once"]
        rows = []
        for which in ("first", "second"):
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            rows.append({"case": case, "time": which, **json.loads(done.stdout)})
    return rows


def once(case: str) -> dict[str, float]:
    """Seconds by phase of one verification in this process."""
    started = time.process_time()
    from twinplate import verify
    from twinplate.user_file import run_file

    file, _, name = case.partition(":")
    value = getattr(run_file(PAIRS / f"{file}.py"), name)  # as `twinplate verify` does
    marks = [("import", started)]
    report = verify(value, progress=marker(marks))
    ended = time.process_time()
    if not report.ok:
        raise SystemExit(f"{case}: {report.verdict}")
    return seconds(marks, ended)


def marker(marks: list[tuple[str, float]]) -> Callable[[str], None]:
    """A progress callback that notes when each phase begins."""

    def note(text: str) -> None:
        program, _, step = text.partition(" program, ")
        precision = step.rpartition(", ")[2]
        known = [phase for phase, _ in marks]
        if program == "first":
            phase = "Pyro"
        elif step == LOOKING:
            phase = "NumPyro's sites"
        elif precision == DOUBLE and "first double" not in known:
            phase = "first double"
        elif precision == SINGLE and "first single" not in known:
            phase = "first single"
        else:
            phase = "rest"
        marks.append((phase, time.process_time()))

    return note


def seconds(marks: list[tuple[str, float]], ended: float) -> dict[str, float]:
    """Sums by phase of the times between marks."""
    found = dict.fromkeys(PHASES, 0.0)
    for (phase, begin), (_, end) in zip(marks, [*marks[1:], ("", ended)], strict=True):
        found[phase] += end - begin
    return found


def _shown(row: dict[str, Any]) -> list[str]:
    numbers = [row[phase] for phase in PHASES]
    return [row["case"], row["time"], *(f"{n:.1f}" for n in (*numbers, sum(numbers)))]


if __name__ == "__main__":
    main()
