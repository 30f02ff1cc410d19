"""What the command `impute` does, apart from reading the command line."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from twinplate.commands.run_data import RunData, read_run_data
from twinplate.commands.told import tell
from twinplate.data.blocks import Array, blocks
from twinplate.data.columns import Wanted, default_name
from twinplate.data.table import Write
from twinplate.data.writers import check_table_file, table_file
from twinplate.errors import InputError
from twinplate.programs.count_prediction import CountPrediction
from twinplate.programs.prediction import Prediction, check_level
from twinplate.progress import rows_progress
from twinplate.words import counted


@dataclass(frozen=True)
class Filled:
    """New files: what is filled in, and how sure that is.

    lower, upper: the ends of intervals that hold a measurement with probability `level`.
    """

    out: Path
    scale: Path | None = None
    lower: Path | None = None
    upper: Path | None = None
    level: float = 0.9

    @property
    def paths(self) -> dict[str, Path]:
        """Those that are wanted, by the names of their options."""
        named = {"out": self.out, "scale": self.scale, "lower": self.lower, "upper": self.upper}
        return {name: path for name, path in named.items() if path is not None}

    def check(self) -> None:
        """Raise InputError unless all are new, no two the same, and the level is a probability."""
        check_level(self.level)
        seen: dict[Path, str] = {}
        for name, path in self.paths.items():
            if (other := seen.setdefault(path.absolute(), name)) != name:
                raise InputError(f"--{other} and --{name} are both {path}; expected two files")
            check_table_file(path)


def run_impute(run: Path, data: Path, files: Filled, exact: bool, also: Wanted) -> dict[str, Any]:
    """Write `data` filled in, and how sure that is; what was done, for JSON.

    Raises InputError for whatever cannot be used.
    """
    files.check()
    console = Console()
    given = read_run_data(run, data, also, console)
    likelihood = given.run.program.config.likelihood
    if exact and likelihood != "normal":
        raise InputError(
            f"--exact is given and {run} has likelihood {likelihood}, whose exact posterior has no closed "
            "form; expected no --exact: the guide fills in"
        )
    _write(given, files, exact)
    found = given.table.statistics.missing.count
    filled = counted(found, "missing entry", "missing entries")
    by = "the exact posterior" if exact else "the guide"
    written = " and ".join(map(str, files.paths.values()))
    tell(console, f"Filled in {filled} by {by}; wrote {written}")
    items, features = given.table.x.shape
    paths = {name: str(path) for name, path in files.paths.items()}
    return {
        "items": items,
        "features": features,
        "filled": found,
        "by": "exact posterior" if exact else "guide",
        **{name: paths.get(name) for name in ("out", "scale", "lower", "upper")},
        "level": files.level,
    }


def _write(given: RunData, files: Filled, exact: bool) -> None:
    x, fit, place = given.table.x, given.fit, _offset_place(given)
    with rows_progress("Imputing") as progress, ExitStack() as opened:
        writes = {}
        for name, path in files.paths.items():
            wide = place is not None and name == "out"
            shape = (x.shape[0], x.shape[1] + wide)
            names = replace(given.names, columns=_columns(given, place)) if wide else given.names
            writes[name] = opened.enter_context(table_file(path, shape, names))
        for first, block in blocks(x, progress):
            of = None if given.offsets is None else given.offsets[first : first + len(block)]
            found = fit.predict(block, exact=exact, offsets=of)
            whole = found.imputed
            if place is not None and of is not None:
                whole = np.insert(whole, place, of, axis=1)
            writes["out"](whole)
            _write_sureness(writes, found, np.isnan(block), files.level)


def _write_sureness(
    writes: dict[str, Write], found: Prediction | CountPrediction, holes: np.ndarray, level: float
) -> None:
    """The rows of the files beside the first; of counts only holes are looked at, as the others take long."""
    if "scale" in writes:
        writes["scale"](np.where(holes, found.scale, 0.0))
    if {"lower", "upper"} & writes.keys():
        for name, end in zip(("lower", "upper"), found.of(holes).interval(level), strict=True):
            if name in writes:
                whole: Array = np.array(found.x)
                whole[holes] = end
                writes[name](whole)


def _offset_place(given: RunData) -> int | None:
    """Where what is written has the column of the offsets, which the run asks for; None if it has none."""
    column, d = given.run.data.get("offset", ""), given.table.x.shape[1]
    if not column:
        return None
    return next((j for j in range(d) if default_name(j) == column), d)


def _columns(given: RunData, place: int | None) -> tuple[str, ...]:
    """The names of the columns with that of the offsets; none where the others have none."""
    names = given.names.columns
    return (*names[:place], given.run.data["offset"], *names[place:]) if names else ()
