"""The command `impute`: data with what is missing filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinplate.commands.answer import write_json
from twinplate.commands.options import Data, Drop, IdColumn, Items, JsonOut, Layer, Quiet, Run


def impute(
    run: Run,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            help="New file, in the format of its suffix: .csv, .tsv, .npy, .npz, .parquet, .h5ad, .nc, "
            ".zarr."
        ),
    ],
    scale: Annotated[
        Path | None,
        typer.Option(
            help="New file of the same shape: the standard deviation of every entry that was filled in, 0 "
            "where there was one."
        ),
    ] = None,
    lower: Annotated[
        Path | None,
        typer.Option(
            help="New file of the same shape: where the interval of every entry that was filled in begins; "
            "the entry itself where there was one."
        ),
    ] = None,
    upper: Annotated[
        Path | None,
        typer.Option(help="The same: where the interval ends, whole numbers of counts."),
    ] = None,
    level: Annotated[float, typer.Option(help="What such an interval holds: a probability.")] = 0.9,
    exact: Annotated[
        bool, typer.Option("--exact", help="By the exact posterior instead of the guide's.")
    ] = False,
    json: JsonOut = None,
    quiet: Quiet = False,
    drop: Drop = "",
    id_column: IdColumn = "",
    items: Items = "",
    layer: Layer = "",
) -> None:
    """Write DATA with its missing entries filled in, with the names of its items and features.

    Each gets the mean of what a measurement would be, given the entries of its item; of counts that is no
    whole number. How sure that is: standard deviations (--scale), and the ends of intervals that hold 9 of 10
    measurements (--lower, --upper).

    Example: twinplate impute RUN holes.csv --out filled.csv --lower low.csv --upper high.csv
    """
    from twinplate.commands.imputing import Filled, run_impute
    from twinplate.data.columns import Wanted

    also = Wanted.parsed(drop=drop, id_column=id_column, items=items, layer=layer)
    write_json(json, run_impute(run, data, Filled(out, scale, lower, upper, level), exact, also))
