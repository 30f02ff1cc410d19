"""What it costs to start at maximum likelihood, in seconds, and how good the start is.

    python benchmarks/start.py [--items 1000 10000 100000] [--features 30 300] [--missing 0 0.2] [--json FILE]

Data of two components with noise 0.5; K = 8 are fitted. "Gained" is the mean log evidence beyond that of the
principal components with what they leave as noise, in nats per item; both on at most 2,000 items.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
from reporting import facts, print_facts, print_table, write_json

from twinplate.data.statistics import read_statistics
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.start import likely_start
from twinplate.seeds import generator

TRUE, FITTED, NOISE, JUDGED = 2, 8, 0.5, 2000


def draw(num_items: int, num_features: int, missing: float) -> Array:
    """Items of TRUE components, a part of their entries missing."""
    rng = generator(0, "start", num_items, num_features)
    loadings = rng.standard_normal((num_features, TRUE))
    x = rng.standard_normal((num_items, TRUE)) @ loadings.T
    x += NOISE * rng.standard_normal(x.shape)
    x[rng.random(x.shape) < missing] = np.nan
    return x


def principal(x: Array) -> LinearGaussian:
    """Principal components of the standardised features, missing entries at their mean."""
    center, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    z = np.nan_to_num((x - center) / spread)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    loadings = vectors[:, -FITTED:] * np.sqrt(
        np.maximum(values[-FITTED:] - values[:-FITTED].mean(), 0)
    )
    noise = np.sqrt(np.maximum(1 - np.square(loadings).sum(axis=1), 4e-4))
    return LinearGaussian(spread[:, None] * loadings, center, spread * noise)


def measure(num_items: int, num_features: int, missing: float) -> dict[str, Any]:
    """One row: seconds of this thread, reading the data for their moments included."""
    x = draw(num_items, num_features, missing)
    started = time.process_time()
    start = likely_start(x, FITTED, read_statistics(x))
    seconds = time.process_time() - started
    some = x[:: -(-num_items // JUDGED)]
    gained = start.log_evidence(some).mean() - principal(x).log_evidence(some).mean()
    sizes = {"items": num_items, "features": num_features, "missing": missing}
    return {**sizes, "seconds": seconds, "gained": float(gained)}


def main(arguments: list[str] | None = None) -> None:
    """Measure every combination of sizes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--features", type=int, nargs="+", default=[30, 300])
    parser.add_argument("--missing", type=float, nargs="+", default=[0.0, 0.2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(components=FITTED, true=TRUE, noise=NOISE)
    print_facts(known)
    sizes = itertools.product(options.items, options.features, options.missing)
    rows = [measure(*of) for of in sizes]
    write_json(options.json, {"facts": known, "rows": rows})
    columns = ["items", "features", "missing", "seconds", "gained"]
    cells = [
        [
            f"{row['items']:,}",
            str(row["features"]),
            f"{row['missing']:.0%}",
            f"{row['seconds']:.2f}",
            f"{row['gained']:.4f}",
        ]
        for row in rows
    ]
    print_table("The start at maximum likelihood", columns, cells)


if __name__ == "__main__":
    main()
