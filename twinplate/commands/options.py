"""Arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path,
    typer.Argument(
        help="CSV or TSV (header optional), NPY, NPZ, Parquet, Zarr or H5AD; items in rows."
    ),
]
Run = Annotated[
    Path, typer.Argument(help="A run directory, written by either framework.", show_default=False)
]
Drop = Annotated[str, typer.Option(help="Columns to leave out: their names, with commas between.")]
IdColumn = Annotated[str, typer.Option(help="The column that names the items; it is no feature.")]
JsonOut = Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")]
