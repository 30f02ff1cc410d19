"""Arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinplate.commands.answer import json_place

Data = Annotated[
    Path,
    typer.Argument(
        help="CSV, TSV (header optional), NPY, NPZ, Parquet, H5AD, NetCDF, Zarr; items in rows."
    ),
]
Run = Annotated[
    Path, typer.Argument(help="A run directory, written by either framework.", show_default=False)
]
Drop = Annotated[str, typer.Option(help="Columns to leave out: their names, with commas between.")]
Items = Annotated[
    str, typer.Option(help="The items: their names, with commas between. By default all.")
]
Layer = Annotated[
    str,
    typer.Option(help="Of H5AD; the variable of NetCDF or Zarr. By default X, x or the only one."),
]
IdColumn = Annotated[str, typer.Option(help="The column that names the items; it is no feature.")]
JsonOut = Annotated[
    Path | None,
    typer.Option(
        "--json",
        callback=json_place,
        help="Write what was found as JSON; - for stdout, and all words go to stderr then. Nothing is "
        "written where the command fails, with exit code 2, or is stopped, with 130 or 143.",
    ),
]


def quieten(asked: bool) -> None:
    """No progress from now on, if that is asked for."""
    if asked:
        from twinplate.progress import hide_progress  # takes long to import

        hide_progress()


Quiet = Annotated[
    bool,
    typer.Option("--quiet", callback=quieten, expose_value=False, help="No progress."),
]
HtmlOut = Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML file.")]
