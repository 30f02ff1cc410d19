"""How many starts of the amortised joint guide diverge on raw data: counts, large numbers, an outlier.

    python benchmarks/guide_starts.py [--starts 64] [--frameworks numpyro pyro] [--quick] [--json FILE]

Six models (`guide_starts_models.py`), float32, each framework's own SVI with `Trace_ELBO` and Adam at RATE,
mini-batches; the encoder, a perceptron with other weights at every start, is given the data as they are. A
start diverged if a loss or a parameter is not finite, if the guide or the framework refuses a step, or if the
last losses are above the first. The losses are those of the last tenth of the steps, nats per item.

`--quick` takes four starts of 200 steps.
"""

from __future__ import annotations

import argparse
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from guide_starts_models import MODELS, make_data
from reporting import console, facts, print_facts, print_table, write_json

BATCH, RATE, STEPS, ITEMS = 100, 1e-2, 1000, 1000


def judged(model: str, framework: str, losses: np.ndarray, finite: np.ndarray) -> dict[str, Any]:
    """A row of losses (starts, steps), nats per item, and whether all numbers of a start are finite."""
    part = max(losses.shape[1] // 10, 1)
    first, last = np.median(losses[:, :part], 1), np.median(losses[:, -part:], 1)
    sound = finite & np.isfinite(losses).all(1) & (last < first)
    return {
        "model": model,
        "framework": framework,
        "starts": len(losses),
        "diverged": int((~sound).sum()),
        "best": float(last[sound].min()) if sound.any() else None,
        "median": float(np.median(last[sound])) if sound.any() else None,
        "worst": float(last[sound].max()) if sound.any() else None,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure every model; rows are written as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--starts", type=int, default=64)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--frameworks", nargs="+", choices=("numpyro", "pyro"), default=["numpyro", "pyro"]
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    starts, steps = options.starts, options.steps
    if options.quick:
        starts, steps = min(starts, 4), min(steps, 200)
    known = facts(starts=starts, steps=steps, items=ITEMS, batch_size=BATCH, rate=RATE, seed=0)
    print_facts(known)
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for framework in options.frameworks:
            run = import_module(f"guide_starts_{framework}").run
            for model in options.models:
                losses, finite = run(model, make_data(model, ITEMS), starts, steps, BATCH, RATE)
                rows.append(judged(model, framework, losses / ITEMS, finite))
                console.print(rows[-1])
                write_json(options.json, {"facts": known, "rows": rows})
    columns = ["model", "diverged", "best loss", "median", "worst"]
    print_table("Nats per item", columns, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    losses = [row[name] for name in ("best", "median", "worst")]
    return [
        f"{row['model']}, {row['framework']}",
        f"{row['diverged']} of {row['starts']}",
        *("–" if loss is None else f"{loss:.2f}" for loss in losses),
    ]


if __name__ == "__main__":
    main()
