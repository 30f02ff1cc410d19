"""Time and peak memory against the number of items, the batch size and the number of components.

    python benchmarks/growth.py [--axes items batch components] [--json FILE] [--picture FILE.png]

Every point is a fresh process (`growth_point.py`). Items: a float32 file that stays on disk is checked,
fitted, and its packed posterior written. Batch and components: data in memory, milliseconds per step, Pyro's
both eager and compiled. The exponent p of a line says that its time grew as size^p over its upper half.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
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
SIZE_OF = {"items": "num_items", "batch": "batch_size", "components": "num_components"}
SIZES: dict[str, Any] = {"num_features": 64, "num_components": 4, "hidden_width": 32}
LARGE: dict[str, Any] = {"num_items": 4096, "num_features": 64, "batch_size": 64, "steps": 5}
WHOLE: dict[str, Any] = {**LARGE, "num_components": 256, "batch_size": 512}  # and in eight blocks
BEYOND: dict[str, Any] = {  # what a quarter of 24 GB cannot take at once
    **LARGE,
    "num_components": 512,
    "batch_size": 1024,
    "steps": 2,
}
COMPILED = 50  # steps timed together: few of them are compared with eager ones


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
        step = [
            Point(b, BATCHES[-1], **SIZES, batch_size=n, steps=10)
            for b in backends
            for n in BATCHES
        ]
        return step + compiled(step)
    full = [Point(b, num_components=k, **LARGE) for b in backends for k in COMPONENTS]
    low = [replace(point, covariance="low-rank") for point in full]
    whole = [
        Point(b, **WHOLE, block=WHOLE["batch_size"] // pieces)
        for b in backends
        for pieces in (1, 8)
    ]
    return full + low + compiled(full + low) + whole + [Point(b, **BEYOND) for b in backends]


def compiled(eager: list[Point]) -> list[Point]:
    """Pyro's points again, compiled."""
    return [
        replace(point, compiled=True, steps=COMPILED) for point in eager if point.backend == "pyro"
    ]


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


def way(row: dict[str, Any]) -> str:
    """Whose steps, and whether they are compiled where that is a choice."""
    return f"{row['backend']}, compiled" if row["compiled"] else str(row["backend"])


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    blocks = row.get("at_once", row["batch_size"]) < row["batch_size"]
    title = f"{row['covariance']}" + (f", {row['at_once']} at once" if blocks else "")
    known = [f"{row[name]:,}" for name in ("num_items", "batch_size", "num_components")]
    measured = [
        f"{row[name]:,.{digits}f}" if name in row else "–"
        for name, digits in (("read_s", 1), ("step_ms", 2), ("write_s", 1), ("peak_mb", 0))
    ]
    return [way(row), title, *known, *measured]


def lines(rows: list[dict[str, Any]], axis: str) -> dict[str, list[dict[str, Any]]]:
    """The points of an axis that differ in its size alone, two or more of them, by their title."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    others = [size for size in SIZE_OF.values() if size != SIZE_OF[axis]]
    for row in rows:
        if row["axis"] == axis and "step_ms" in row:
            key = f"{way(row)}, {row['covariance']}", row["block"], *(row[size] for size in others)
            found.setdefault(key, []).append(row)
    return {title: line for (title, *_), line in found.items() if len(line) > 1}


def cost(row: dict[str, Any]) -> float:
    """Seconds of reading and writing where there is a file, milliseconds of a step elsewhere."""
    seconds = row["axis"] == "items"
    return float(row["read_s"] + row["write_s"] if seconds else row["step_ms"])


def exponent(line: list[dict[str, Any]], size: str) -> float:
    """p of cost ∝ size^p, between the middle and the last point of a line."""
    first, last = line[(len(line) - 1) // 2], line[-1]
    return float(np.log(cost(last) / cost(first)) / np.log(last[size] / first[size]))


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Milliseconds per step (or seconds of reading) and peak memory, log-log, one column per axis."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    axes = [axis for axis in SIZE_OF if lines(rows, axis)]
    figure, panels = plt.subplots(2, len(axes), figsize=(4 * len(axes), 6), squeeze=False)
    for column, axis in enumerate(axes):
        chosen = lines(rows, axis)
        for title, line in chosen.items():
            at = [row[SIZE_OF[axis]] for row in line]
            panels[0, column].loglog(at, [cost(row) for row in line], "o-", label=title)
            panels[1, column].loglog(at, [row["peak_mb"] for row in line], "o-")
        every = [row for line in chosen.values() for row in line]
        panels[0, column].set_title("read and write, s" if axis == "items" else "one step, ms")
        panels[1, column].set(title="peak memory, MB", xlabel=SIZE_OF[axis])
        panels[1, column].set_ylim(100, 2 * max(row["peak_mb"] for row in every))
        panels[0, column].set_ylim(top=30 * max(cost(row) for row in every))  # room for the legend
        panels[0, column].legend(fontsize="small", loc="upper left")
        sizes = sorted({row[SIZE_OF[axis]] for row in every})
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
    parser.add_argument("--axes", nargs="+", default=list(SIZE_OF), choices=list(SIZE_OF))
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
    for axis, size in SIZE_OF.items():
        for title, line in lines(rows, axis).items():
            console.print(f"{axis}, {title}: exponent {exponent(line, size):.2f}", highlight=False)
    if options.picture:
        draw(options.picture, rows)


if __name__ == "__main__":
    main()
