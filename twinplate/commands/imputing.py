"""What the command `impute` does, apart from reading the command line."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from twinplate.commands.run_data import RunData, read_run_data
from twinplate.commands.told import tell
from twinplate.data.blocks import blocks
from twinplate.data.columns import Wanted
from twinplate.data.writers import check_table_file, table_file
from twinplate.errors import InputError
from twinplate.progress import rows_progress
from twinplate.words import counted


def run_impute(
    run: Path, data: Path, out: Path, scale: Path | None, exact: bool, also: Wanted
) -> dict[str, Any]:
    """Write `data` filled in to `out`, and the standard deviations to `scale`; what was done, for JSON.

    Raises InputError for whatever cannot be used.
    """
    if scale is not None and scale.absolute() == out.absolute():
        raise InputError(f"--scale and --out are both {out}; expected two files")
    for path in (out, scale):
        if path is not None:
            check_table_file(path)
    console = Console()
    given = read_run_data(run, data, also, console)
    _write(given, out, scale, exact)
    found = given.table.statistics.missing.count
    filled = counted(found, "missing entry", "missing entries")
    by = "the exact posterior" if exact else "the guide"
    tell(console, f"Filled in {filled} by {by}; wrote {out}{f' and {scale}' if scale else ''}")
    items, features = given.table.x.shape
    return {
        "items": items,
        "features": features,
        "filled": found,
        "by": "exact posterior" if exact else "guide",
        "out": str(out),
        "scale": None if scale is None else str(scale),
    }


def _write(given: RunData, out: Path, scale: Path | None, exact: bool) -> None:
    x, fit = given.table.x, given.fit
    with rows_progress("Imputing") as progress, ExitStack() as files:
        write, write_scale = (
            files.enter_context(table_file(path, x.shape, given.names)) if path else None
            for path in (out, scale)
        )
        assert write is not None
        for first, block in blocks(x, progress):
            of = None if given.offsets is None else given.offsets[first : first + len(block)]
            found = fit.predict(block, exact=exact, offsets=of)
            write(found.imputed)
            if write_scale is not None:
                write_scale(np.where(np.isnan(block), found.scale, 0.0))
