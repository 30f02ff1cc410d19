"""All that an accelerator has to show, in one run of eight minutes at most, written as it goes.

    python benchmarks/accelerator.py [--quick] [--seconds 480] [--json FILE]

First whether the paths are right there (`accelerator_paths.py`), then `twinplate bench` at S, M, L and XL
with the card's own limits, mini-batches from the host, and what cut gradients cost. Each part is a process of
its own: one that fails, or that the time does not suffice for, takes nothing from the others, and what it had
written until then counts. `--quick` takes the paths and size S. Without an accelerator it runs on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reporting import console, facts, print_facts, print_table, write_json

HERE = Path(__file__).parent
PYTHON = sys.executable
SHOWN = 20  # last lines of a part's output that are kept where it failed

# In this order: what is right comes before what is fast, and the sizes that say most before the others.
PARTS: dict[str, list[str]] = {
    "paths": [PYTHON, str(HERE / "accelerator_paths.py")],
    **{
        f"bench {size}": [PYTHON, "-m", "twinplate", "bench", "--sizes", size]
        for size in ("S", "M", "L", "XL")
    },
    "batches": [PYTHON, str(HERE / "batches.py"), "--rounds", "5"],
    "clipping": [PYTHON, str(HERE / "clipping.py"), "--rounds", "7"],
}
QUICK = ("paths", "bench S")


def take_part(command: list[str], seconds: float) -> dict[str, Any]:
    """What `command --json FILE` found and how it ended; where not well, the end of its output too."""
    with TemporaryDirectory() as folder:
        path, started = Path(folder) / "rows.json", time.monotonic()
        # A session of its own, so that whatever it starts ends with it.
        with subprocess.Popen(
            [*command, "--json", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            late = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
            late.start()
            lines = []
            assert process.stdout is not None
            for line in process.stdout:
                console.print(line.rstrip(), highlight=False, markup=False)
                lines.append(line.rstrip())
            late.cancel()
        code = process.returncode
        rows = json.loads(path.read_text()) if path.exists() else None
        found = {"seconds": time.monotonic() - started, "exit_code": code, "found": rows}
        return found if code == 0 else found | {"output": lines[-SHOWN:]}


def main(arguments: list[str] | None = None) -> None:
    """Take every part that there is time for; what is found is written after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(seconds=options.seconds, machine=os.uname().machine)
    print_facts(known)
    end = time.monotonic() + options.seconds
    found: dict[str, Any] = {}
    for name, command in PARTS.items():
        if options.quick and name not in QUICK:
            continue
        left = end - time.monotonic()
        if left < 1:
            found[name] = {"seconds": 0.0, "exit_code": None, "found": None}
            continue
        console.rule(f"{name}, {left:.0f} s left")
        found[name] = take_part(command, left)
        write_json(options.json, {"facts": known, "parts": found})
    write_json(options.json, {"facts": known, "parts": found})
    rows = [[name, f"{part['seconds']:.0f}", _told(part)] for name, part in found.items()]
    print_table("Parts", ["part", "seconds", "ended"], rows)
    sys.exit(any(part["exit_code"] not in (0, None, -signal.SIGKILL) for part in found.values()))


def _told(part: dict[str, Any]) -> str:
    """How a part ended, in words."""
    if part["exit_code"] is None:
        return "no time was left"
    if part["exit_code"] == -signal.SIGKILL:
        return "out of time" + (", part of it written" if part["found"] else "")
    return "well" if part["exit_code"] == 0 else f"with exit code {part['exit_code']}"


if __name__ == "__main__":
    main()
