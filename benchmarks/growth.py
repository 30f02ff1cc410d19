"""Time and peak memory against the number of items, the batch size and the number of components.

    python benchmarks/growth.py [--axes items batch components] [--json FILE] [--picture FILE.png]

Every point is a fresh process (`growth_point.py`). Items: a float32 file that stays on disk is checked,
fitted, and its packed posterior written. Batch and components: data in memory, milliseconds per step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from growth_point import Point
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.seeds import generator

ITEMS = (100_000, 1_000_000, 10_000_000)
BATCHES = (256, 1024, 4096, 16_384, 65_536)
COMPONENTS = (8, 32, 128, 512)
SIZES: dict[str, Any] = {"num_features": 64, "num_components": 4, "hidden_width": 32}
LARGE: dict[str, Any] = {"num_items": 4096, "num_features": 64, "batch_size": 64, "steps": 5}
WHOLE: dict[str, Any] = {**LARGE, "num_components": 256, "batch_size": 512}  # and in eight blocks


def points(axis: str, backends: list[str], folder: Path, items: list[int]) -> list[Point]:
    """The points of one axis; the data files of the axis "items" are made in `folder`."""
    if axis == "items":
        files = {n: make_file(folder / f"{n}.npy", n) for n in items}
        return [
            Point(b, n, **SIZES, batch_size=256, data=str(files[n]), posterior=True)
            for b in backends
            for n in items
        ]
    if axis == "batch":
        return [
            Point(b, BATCHES[-1], **SIZES, batch_size=size, steps=10)
            for b in backends
            for size in BATCHES
        ]
    full = [Point(b, num_components=k, **LARGE) for b in backends for k in COMPONENTS]
    low = [
        Point(p.backend, **LARGE, num_components=p.num_components, covariance="low-rank")
        for p in full
    ]
    whole = [
        Point(b, **WHOLE, block=WHOLE["batch_size"] // pieces)
        for b in backends
        for pieces in (1, 8)
    ]
    return full + low + whole


def make_file(path: Path, num_items: int) -> Path:
    """Correlated features in float32, written in pieces."""
    num_features, rng = SIZES["num_features"], generator(0, "x")
    mixing = generator(0, "mixing").standard_normal((num_features, num_features), dtype=np.float32)
    header = {"descr": "<f4", "fortran_order": False, "shape": (num_items, num_features)}
    with path.open("xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, num_items, 100_000):
            shape = min(100_000, num_items - start), num_features
            file.write((rng.standard_normal(shape, dtype=np.float32) @ mixing).tobytes())
    return path


def measure(point: Point) -> dict[str, Any]:
    """The point from a process of its own; `failed` holds the last line of one that died."""
    command = [sys.executable, str(Path(__file__).with_name("growth_point.py"))]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "NPROC": "1"}  # torch's, and XLA's
    done = subprocess.run(
        [*command, json.dumps(asdict(point))],
        capture_output=True,
        text=True,
        check=False,
        env=one_thread,
    )
    if done.returncode:
        return {**asdict(point), "failed": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    title = f"{row['covariance']}" + (f", {row['block']} at once" if row["block"] else "")
    known = [f"{row[name]:,}" for name in ("num_items", "batch_size", "num_components")]
    measured = [
        f"{row[name]:,.{digits}f}" if name in row else "–"
        for name, digits in (("read_s", 1), ("step_ms", 2), ("write_s", 1), ("peak_mb", 0))
    ]
    return [row["backend"], title, *known, *measured]


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Milliseconds per step (or seconds of reading) and peak memory, log-log, one column per axis."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    axes = [
        axis for axis in ("items", "batch", "components") if any(r["axis"] == axis for r in rows)
    ]
    names = {"items": "num_items", "batch": "batch_size", "components": "num_components"}
    figure, panels = plt.subplots(2, len(axes), figsize=(4 * len(axes), 6), squeeze=False)
    for column, axis in enumerate(axes):
        chosen = [r for r in rows if r["axis"] == axis and not r["block"] and "step_ms" in r]
        for backend, covariance in sorted({(r["backend"], r["covariance"]) for r in chosen}):
            line = [r for r in chosen if (r["backend"], r["covariance"]) == (backend, covariance)]
            at = [r[names[axis]] for r in line]
            cost = [r["read_s"] + r["write_s"] if axis == "items" else r["step_ms"] for r in line]
            panels[0, column].loglog(at, cost, "o-", label=f"{backend}, {covariance}")
            panels[1, column].loglog(at, [r["peak_mb"] for r in line], "o-")
        panels[0, column].set_title("read and write, s" if axis == "items" else "one step, ms")
        panels[1, column].set(title="peak memory, MB", xlabel=names[axis])
        panels[1, column].set_ylim(100, 2 * max((r["peak_mb"] for r in chosen), default=100))
        panels[0, column].legend(fontsize="small")
        sizes = sorted({r[names[axis]] for r in chosen})
        for panel in panels[:, column]:
            panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
            panel.set_xticks([], minor=True)
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Measure every point, printing each as it is done, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = ["items", "batch", "components"]
    parser.add_argument("--axes", nargs="+", default=every, choices=every)
    parser.add_argument("--backends", nargs="+", default=["numpyro", "pyro"])
    parser.add_argument("--items", nargs="+", type=int, default=list(ITEMS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args(arguments)
    known = facts(sizes=SIZES, precision="float32")
    print_facts(known)
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="growth-") as folder:
        for axis in options.axes:
            for point in points(axis, options.backends, Path(folder), options.items):
                rows.append({"axis": axis, **measure(point)})
                console.print(" | ".join(cells(rows[-1])), rows[-1].get("failed", ""))
                write_json(options.json, {"facts": known, "rows": rows})
    columns = ["backend", "covariance", "N", "B", "K", "read s", "ms/step", "write s", "peak MB"]
    print_table("Time and peak memory", columns, [cells(row) for row in rows])
    if options.picture:
        draw(options.picture, rows)


if __name__ == "__main__":
    main()
