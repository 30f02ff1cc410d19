"""A run directory and data for it, whose columns are found by the names that they had in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from twinplate.commands.count_checks import check_entries, check_totals
from twinplate.commands.offset_column import offsets_of_run
from twinplate.commands.told import tell, tell_data
from twinplate.data.blocks import Array
from twinplate.data.columns import Fitted, Wanted, listed
from twinplate.data.readers import load_items, load_matrix
from twinplate.data.stored import Matrix
from twinplate.data.table import Names, Table
from twinplate.errors import InputError
from twinplate.programs.encoding import new_items
from twinplate.progress import rows_progress
from twinplate.training.loading import fit_of
from twinplate.training.run_directory import read_newest
from twinplate.training.run_format import SavedRun
from twinplate.training.state import Fit
from twinplate.words import counted


@dataclass(frozen=True, eq=False)
class RunData:
    """A fit and a table of items that have its features; `run` is what the run directory holds.

    names: of features and items, for a file; none where neither the data nor the run have any.
    offsets: (N,), of counts; None where the program has none.
    """

    run: SavedRun
    fit: Fit
    table: Table
    names: Names
    offsets: Array | None = None

    def name_of(self, item: int) -> str:
        """How a message names an item, by its place from 0."""
        return self.table.items[item] if self.table.items else f"row {item + 1}"


def read_run(path: Path, console: Console) -> SavedRun:
    """The run directory `path`; what is damaged or unfinished of it is said. Raises InputError."""
    run, _, damage = read_newest(path)
    for sentence in damage:
        tell(Console(stderr=True), sentence)
    if not run.is_finished:
        tell(console, f"{path} is unfinished: this is step {run.step} of {run.training.steps}")
    return run


def read_run_data(run_path: Path, data: Path, also: Wanted, console: Console) -> RunData:
    """Both, checked, and told which columns are used.

    also: columns of `data` to leave out, beside those that the run left out.

    Raises InputError for whatever cannot be used, such as columns that are missing or unknown.
    """
    run = read_run(run_path, console)
    fit = fit_of(run)
    fitted = Fitted.of(run.data, also)
    with rows_progress(f"Checking {data.name}") as progress:
        table = load_matrix(data, progress, fitted.choose, layer=fitted.layer, items=also.items)
    if table.x.shape[1] != len(fitted.columns):
        raise InputError(
            f"the data have {counted(table.x.shape[1], 'column')}; the run {run_path} was fitted on "
            f"{len(fitted.columns)}"
        )
    how, offset = _how_found(fitted, table, data, run_path), run.data.get("offset", "")
    tell_data(console, table, how, offset)
    columns = table.columns if table.named else fitted.columns if fitted.named else ()
    item_column = table.id_columns[-1] if table.items else ""
    names = Names(columns, table.items, item_column, table.others)
    offsets = checked_offsets(data, table, run, fit, also.items)
    return RunData(run, fit, table, names, offsets)


def checked_offsets(
    data: Path, table: Table, run: SavedRun, fit: Fit, items: Sequence[str] = ()
) -> Array | None:
    """The offsets (N,) of `table`, which was read of `data`; None where the run has none.

    items: those that were chosen.  Raises InputError for entries that cannot be, and for what are no offsets.
    """
    assert fit.program is not None  # `fit_of` has made one
    program = fit.program
    if program.config.likelihood == "normal":
        return None
    check_entries(data, table, program.config.likelihood)
    if not run.data.get("offset", ""):
        check_totals(data, table, program.config, fitting=False)
    x = new_items(table.x, program)  # which are counts
    return program.offsets_of(x, offsets_of_run(data, run, items))


def items_of_run(data: Path, run: SavedRun) -> Matrix:
    """The items that the run is trained on; of what stays on disk no row is read. Raises InputError."""
    known = Fitted.of(run.data)
    selected = run.data.get("selected", ())
    return load_items(data, known.choose, layer=known.layer, items=selected)


def _how_found(fitted: Fitted, table: Table, data: Path, run_path: Path) -> str:
    """Which columns are which features, in words."""
    if fitted.named and table.named:
        return f"by name, {listed(fitted.columns)}"
    lacking = run_path.name if table.named else data.name
    return f"by place, as {lacking} names no columns"
