"""A run directory and data for it, whose columns are found by the names that they had in training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from twinplate.commands.told import tell_data
from twinplate.data.columns import Fitted, Wanted, default_name, listed
from twinplate.data.readers import load_matrix
from twinplate.data.table import Table
from twinplate.data.writers import Names
from twinplate.errors import InputError
from twinplate.progress import rows_progress
from twinplate.training.loading import fit_of
from twinplate.training.run_directory import SavedRun, load_run
from twinplate.training.state import Fit
from twinplate.words import counted


@dataclass(frozen=True, eq=False)
class RunData:
    """A fit and a table of items that have its features; `run` is what the run directory holds."""

    run: SavedRun
    fit: Fit
    table: Table

    @property
    def names(self) -> Names:
        """Of features and items, for a file; none where neither the run nor the data have any."""
        table, ids = self.table, self.table.id_columns
        named = table.named or self.run.data.get("named")
        columns = self.fit.features if named else ()
        return Names(columns, table.items, ids[-1] if ids and table.named else "")

    def name_of(self, item: int) -> str:
        """How a message names an item, by its place from 0."""
        return self.table.items[item] if self.table.items else f"row {item + 1}"


def read_run_data(run_path: Path, data: Path, also: Wanted, console: Console) -> RunData:
    """Both, checked, and told which columns are used.

    also: columns of `data` to leave out, beside those that the run left out.

    Raises InputError for whatever cannot be used, such as columns that are missing or unknown.
    """
    run = load_run(run_path)
    fit = fit_of(run_path, run)
    fitted = _fitted_columns(run, also)
    with rows_progress(f"Checking {data.name}") as progress:
        table = load_matrix(data, progress, fitted.choose)
    if table.x.shape[1] != len(fitted.columns):
        raise InputError(
            f"the data have {counted(table.x.shape[1], 'column')}; the run {run_path} was fitted on "
            f"{len(fitted.columns)}"
        )
    tell_data(console, table, _how_found(fitted, table, data, run_path))
    return RunData(run, fit, table)


def _fitted_columns(run: SavedRun, also: Wanted) -> Fitted:
    """The columns of the run; one of before says neither whether they have names nor what was left out."""
    columns = tuple(run.data["columns"])
    unnamed = columns == tuple(map(default_name, range(len(columns))))
    return Fitted(
        columns,
        bool(run.data.get("named", not unnamed)),
        tuple(run.data.get("left_out", ())),
        tuple(run.data.get("id_columns", ())),
        also,
    )


def _how_found(fitted: Fitted, table: Table, data: Path, run_path: Path) -> str:
    """Which columns are which features, in words."""
    if fitted.named and table.named:
        return f"by name, {listed(fitted.columns)}"
    lacking = run_path.name if table.named else data.name
    return f"by place, as {lacking} names no columns"
