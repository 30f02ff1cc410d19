"""The command `impute`: data with what is missing filled in."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from twinplate.commands.options import Data, Drop, IdColumn, Run
from twinplate.commands.run_data import RunData, read_run_data
from twinplate.commands.told import tell
from twinplate.data.blocks import blocks
from twinplate.data.columns import Wanted, split_names
from twinplate.data.writers import check_table_file, table_file
from twinplate.errors import InputError
from twinplate.progress import rows_progress
from twinplate.words import counted


def impute(
    run: Run,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            help="New file, in the format of its suffix: .csv, .tsv, .npy, .npz, .parquet, .h5ad."
        ),
    ],
    scale: Annotated[
        Path | None,
        typer.Option(
            help="New file of the same shape: the standard deviation of every entry that was filled in, 0 "
            "where there was one."
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="By the exact posterior instead of the guide's.")
    ] = False,
    drop: Drop = "",
    id_column: IdColumn = "",
) -> None:
    """Write DATA with its missing entries filled in, with the names of its items and features.

    Each gets the mean of what a measurement would be, given the entries of its item. The measurement is
    normal: 9 of 10 lie within 1.645 standard deviations (--scale).

    Example: twinplate impute RUN holes.csv --out filled.csv --scale uncertain.csv
    """
    if scale is not None and scale.absolute() == out.absolute():
        raise InputError(f"--scale and --out are both {out}; expected two files")
    for path in (out, scale):
        if path is not None:
            check_table_file(path)
    also = Wanted(drop=split_names(drop), id_column=id_column)
    console = Console()
    given = read_run_data(run, data, also, console)
    _write(given, out, scale, exact)
    filled = counted(given.table.statistics.missing.count, "missing entry", "missing entries")
    by = "the exact posterior" if exact else "the guide"
    tell(console, f"Filled in {filled} by {by}; wrote {out}{f' and {scale}' if scale else ''}")


def _write(given: RunData, out: Path, scale: Path | None, exact: bool) -> None:
    x, fit = given.table.x, given.fit
    with rows_progress("Imputing") as progress, ExitStack() as files:
        write, write_scale = (
            files.enter_context(table_file(path, x.shape, given.names)) if path else None
            for path in (out, scale)
        )
        assert write is not None
        for _, block in blocks(x, progress):
            found = fit.predict(block, exact=exact)
            write(found.imputed)
            if write_scale is not None:
                write_scale(np.where(np.isnan(block), found.scale, 0.0))
