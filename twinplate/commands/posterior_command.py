"""What the command `posterior` does, apart from reading the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twinplate.backends import available_backends, load_backend
from twinplate.data.blocks import Rows
from twinplate.data.readers import load_matrix
from twinplate.data.table import Table
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import Gaussian
from twinplate.programs.posterior_file import check_output, save_posterior
from twinplate.programs.program import ReferenceProgram
from twinplate.progress import rows_progress
from twinplate.training.run_directory import SavedRun, load_run


def run_posterior(run_path: Path, data: Path, out: Path, backend: str | None) -> tuple[int, str]:
    """Write the posterior of every item of `data` to `out`; the number of items and the backend.

    The suffix of `out` decides the form (`twinplate.programs.posterior_file`). Without `backend`, the one
    that wrote the run, or else the one that is installed. Raises InputError for whatever cannot be used.
    """
    check_output(out)
    run = load_run(run_path)
    with rows_progress(f"Checking {data.name}") as progress:
        table = load_matrix(data, progress)
    program = _program_of(run_path, run)
    _check_new_items(table, program, run_path)
    backend = backend or _backend_for(run)
    parts = load_backend(backend).posterior_blocks(table.x, program, run.params)
    num_items = len(table.x)
    with rows_progress("Posterior") as progress:
        parts = _reported(parts, num_items, progress)
        save_posterior(out, parts, num_items, program.config.num_components)
    return num_items, backend


def _reported(parts: Iterator[Gaussian], num_items: int, progress: Rows) -> Iterator[Gaussian]:
    done = 0
    for part in parts:
        yield part
        done += len(part.loc)
        progress(done, num_items)


def _program_of(path: Path, run: SavedRun) -> ReferenceProgram:
    try:
        config = ProgramConfig.from_dict(run.config["program"])
        return ReferenceProgram.from_fixed(config, run.fixed)
    except (KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{path} is not a run that this version can read ({error}); fit it again"
        ) from error


def _check_new_items(table: Table, program: ReferenceProgram, run_path: Path) -> None:
    num_features = program.config.num_features
    if table.x.shape[1] != num_features:
        raise InputError(
            f"the data have {table.x.shape[1]} columns; the run {run_path} was fitted on {num_features}"
        )
    missing, empty = table.statistics.missing, table.statistics.empty_items
    if missing.count and program.config.encoder == "mlp":
        raise InputError(
            f"the data have {missing.count} missing entries, but the run {run_path} was fitted on "
            "complete data and its encoder has never seen one; fit with --missing mask on data with "
            "missing entries"
        )
    if empty.count:
        raise InputError(
            f"{empty.count} items have no observed entry, the first is row {empty.first[0] + 1}; remove "
            "them: nothing is known of them beyond the prior"
        )


def _backend_for(run: SavedRun) -> str:
    wrote = str(run.config.get("backend"))
    available = available_backends()
    if wrote in available or not available:
        return wrote
    return available[0]
