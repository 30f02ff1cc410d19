"""Run directories whose guides are known in closed form, and data drawn from their model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from twinplate import LinearGaussian, ProgramConfig, TrainingConfig, make_program
from twinplate.data.readers import load_matrix
from twinplate.data.table import Table
from twinplate.programs.closed_form import closed_form_params
from twinplate.programs.parameters import initial_params
from twinplate.reporting.runs import ReportedRun, read_report
from twinplate.training.run_directory import load_run, save_run, versions
from twinplate.training.run_format import SavedRun

D, K, N, B = 5, 2, 400, 50
NAMES = ("height", "weight", "a,b", 'say "x"', "<script>")
MODEL = LinearGaussian(
    [[1.0, 0.5], [2.0, 1.0], [-1.0, 1.0], [0.5, 3.0], [1.0, -0.4]],
    [1.0, 0, 2, 0, -1],
    [0.5, 0.7, 1.0, 0.3, 0.9],
)


def data(missing: float = 0.2, num_items: int = N, seed: int = 0) -> np.ndarray:
    """Drawn from MODEL, (N, D)."""
    rng = np.random.default_rng(seed)
    x, _ = MODEL.simulate(num_items, rng)
    x[rng.random(x.shape) < missing] = np.nan
    return x


def write_data(path: str, x: np.ndarray) -> Table:
    """As CSV with names of items and features; read again."""
    with Path(path).open("w") as file:
        file.write('id,height,weight,"a,b","say ""x""",<script>\n')
        for n, row in enumerate(x):
            cells = ("" if np.isnan(v) else repr(float(v)) for v in row)
            file.write(f"item-{n:04d},{','.join(cells)}\n")
    return load_matrix(Path(path), fingerprinted=True)


def write_run(
    path: str,
    table: Table | None = None,
    model: LinearGaussian = MODEL,
    losses: np.ndarray | None = None,
    step: int | None = None,
    backend: str = "pyro",
    steps: int = 80,
    **config: Any,
) -> SavedRun:
    """A run whose guide is the best of its family, where there is one in closed form."""
    x = data() if table is None else table.x
    config = {"encoder": "experts", "hidden_width": 3, **config}
    program = make_program(x, ProgramConfig(D, model.num_components, **config), model)
    closed = program.config.covariance != "low-rank" and program.config.amplitude_scale is None
    params = closed_form_params(program) if closed else initial_params(program, 0)
    nothing = {name: np.zeros_like(value) for name, value in params.items()}
    losses = np.full(steps, 9.0) if losses is None else losses
    run = SavedRun(
        {
            "program": program.config.as_dict(),
            "training": TrainingConfig(steps=steps, batch_size=B).as_dict(),
            "backend": backend,
        },
        {
            "columns": list(NAMES),
            "named": True,
            "num_items": len(x),
            "num_features": D,
            "fingerprint": "0" * 64 if table is None else table.fingerprint,
            "id_columns": ["id"],
            "left_out": [],
        },
        versions(),
        params,
        params,
        nothing,
        nothing,
        program.fixed,
        losses,
        len(losses) if step is None else step,
    )
    save_run(Path(path), run)
    return run


def reported(path: str, table: Table | None) -> ReportedRun:
    """What a report says of the run."""
    return read_report(path, load_run(Path(path)), 1000, table)


def noisier(factor: float) -> LinearGaussian:
    """MODEL with its noise times a factor."""
    return LinearGaussian(**{**MODEL.as_dict(), "noise_scale": factor * MODEL.noise_scale})
