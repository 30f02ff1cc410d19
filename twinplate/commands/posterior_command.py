"""What the command `posterior` does, apart from reading the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from twinplate.backends import available_backends, default_backend, load_backend
from twinplate.commands.told import tell_data
from twinplate.data.blocks import Rows
from twinplate.data.columns import ALL, Fitted, Wanted, default_name, listed
from twinplate.data.readers import load_matrix
from twinplate.data.table import Table
from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import Gaussian
from twinplate.programs.posterior_file import check_output, save_posterior
from twinplate.programs.program import ReferenceProgram
from twinplate.progress import rows_progress
from twinplate.training.loading import program_of
from twinplate.training.run_directory import SavedRun, load_run
from twinplate.words import counted


def run_posterior(
    run_path: Path,
    data: Path,
    out: Path,
    backend: str | None,
    also: Wanted = ALL,
    console: Console | None = None,
) -> tuple[int, str]:
    """Write the posterior of every item of `data` to `out`; the number of items and the backend.

    The suffix of `out` decides the form (`twinplate.programs.posterior_file`). Without `backend`, the one
    that wrote the run, or else the one that is installed. The features are found by the names that the
    run has for them, and by their places where it or the data have none.

    also: columns of `data` to leave out, beside those that the run left out.

    Raises InputError for whatever cannot be used, such as columns that are missing or unknown.
    """
    check_output(out)
    run = load_run(run_path)
    program = program_of(run_path, run)
    fitted = _fitted_columns(run, also)
    with rows_progress(f"Checking {data.name}") as progress:
        table = load_matrix(data, progress, fitted.choose)
    _check_new_items(table, program, run_path)
    tell_data(console or Console(), table, _how_found(fitted, table, data, run_path))
    backend = backend or _backend_for(run)
    parts = load_backend(backend).posterior_blocks(table.x, program, run.params)
    num_items = len(table.x)
    with rows_progress("Posterior") as progress:
        parts = _reported(parts, num_items, progress)
        save_posterior(out, parts, num_items, program.config.num_components, table.items)
    return num_items, backend


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


def _reported(parts: Iterator[Gaussian], num_items: int, progress: Rows) -> Iterator[Gaussian]:
    done = 0
    for part in parts:
        yield part
        done += len(part.loc)
        progress(done, num_items)


def _check_new_items(table: Table, program: ReferenceProgram, run_path: Path) -> None:
    num_features = program.config.num_features
    if table.x.shape[1] != num_features:
        raise InputError(
            f"the data have {counted(table.x.shape[1], 'column')}; the run {run_path} was fitted on "
            f"{num_features}"
        )
    missing, empty = table.statistics.missing, table.statistics.empty_items
    in_part = missing.count - num_features * empty.count  # of items of which something is observed
    if in_part and program.config.encoder == "mlp":
        raise InputError(
            f"the data have {counted(in_part, 'missing entry', 'missing entries')}, but the run {run_path} "
            "was fitted on complete data and its encoder has never seen one; fit with --missing mask on "
            "data with missing entries"
        )


def _backend_for(run: SavedRun) -> str:
    wrote = str(run.config.get("backend"))
    return wrote if wrote in available_backends() else default_backend()
