"""What data on disk cost a fit by their format: the time to read the mini-batches of a chunk of 100 steps.

    python benchmarks/reading.py [--items 400000] [--features 64] [--rounds 9] [--json FILE]

The same matrix as NPY, Parquet (row groups of 50,000 items) and Zarr (chunks of 5,000), with the default
compression of their libraries, and 100 mini-batches of 256 items in the order of a fit. Printed is the median
time, and the median of its ratio to NPY's in the same round. The system has the files in its memory, so this
is what decoding costs. Read ahead by a second thread, it slows a fit down where its steps take less.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from reporting import facts, print_facts, print_table, write_json

from twinplate.data import readers
from twinplate.data.blocks import gather
from twinplate.data.readers import load_matrix
from twinplate.seeds import batch_indices

GROUP, CHUNK = 50_000, 5_000  # items of a row group of Parquet, and of a chunk of Zarr
BATCH, STEPS = 256, 100


def write(folder: Path, x: np.ndarray) -> list[Path]:
    """The matrix in every format."""
    npy, parquet, store = (folder / f"x.{suffix}" for suffix in ("npy", "parquet", "zarr"))
    np.save(npy, x)
    columns = {f"f{j}": x[:, j] for j in range(x.shape[1])}
    pq.write_table(pa.table(columns), parquet, row_group_size=GROUP)
    zarr.create_array(store, data=x, chunks=(min(CHUNK, len(x)), x.shape[1]))
    return [npy, parquet, store]


def measure(items: int, features: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each format."""
    x = np.random.default_rng(0).normal(size=(items, features))
    indices = batch_indices(0, 0, STEPS, items, BATCH).reshape(-1)
    with TemporaryDirectory() as folder:
        paths = write(Path(folder), x)
        opened = [load_matrix(path).x for path in paths]
        seconds = np.zeros((rounds + 1, len(paths)))
        for i in range(rounds + 1):  # of which the first warms up
            for j, matrix in enumerate(opened):
                started = time.perf_counter()
                found = gather(matrix, indices)
                seconds[i, j] = time.perf_counter() - started
                if i == 0 and not np.array_equal(found, x[indices]):
                    raise RuntimeError(f"{paths[j].name} gives other numbers")
    medians = np.median(seconds[1:], axis=0)
    ratios = np.median(seconds[1:] / seconds[1:, :1], axis=0)
    return [
        {"format": path.suffix[1:], "seconds": float(second), "ratio": float(ratio)}
        for path, second, ratio in zip(paths, medians, ratios, strict=True)
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print every row; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=400_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(items=options.items, features=options.features, rounds=options.rounds)
    print_facts(known)
    readers.MAPPED_BYTES = 0  # everything stays on disk
    rows = measure(options.items, options.features, options.rounds)
    write_json(options.json, {"facts": known, "rows": rows})
    cells = [[r["format"], f"{r['seconds']:.3f}", f"{r['ratio']:.1f}"] for r in rows]
    print_table("A chunk of 100 mini-batches", ["format", "seconds", "times NPY's"], cells)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
