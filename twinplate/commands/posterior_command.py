"""What the command `posterior` does, apart from reading the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from twinplate.backends import load_backend
from twinplate.commands.run_data import read_run_data
from twinplate.data.blocks import Rows
from twinplate.data.columns import ALL, Wanted
from twinplate.programs.encoding import check_seen, guide_blocks
from twinplate.programs.linear_gaussian import Gaussian
from twinplate.programs.posterior_file import check_output, save_posterior
from twinplate.progress import rows_progress


def run_posterior(
    run_path: Path,
    data: Path,
    out: Path,
    backend: str | None,
    also: Wanted = ALL,
    console: Console | None = None,
) -> tuple[int, str]:
    """Write the posterior of every item of `data` to `out`; the number of items and what computed it.

    The suffix of `out` decides the form (`twinplate.programs.posterior_file`). Without a `backend` it is
    NumPy, which needs no framework and no time to compile. The features are found by the names that the
    run has for them, and by their places where it or the data have none.

    also: columns of `data` to leave out, beside those that the run left out.

    Raises InputError for whatever cannot be used, such as columns that are missing or unknown.
    """
    check_output(out)
    given = read_run_data(run_path, data, also, console or Console())
    table, fit, program = given.table, given.fit, given.fit.program
    assert program is not None  # `load` has made one
    if table.statistics.missing.count:
        check_seen(program, fit.state.variance, table.x)
    if backend is None:
        parts = guide_blocks(program, fit.params, table.x, given.offsets)
    else:
        blocks_of = load_backend(backend).posterior_blocks
        parts = blocks_of(table.x, program, fit.params, offsets=given.offsets)
    num_items = len(table.x)
    with rows_progress("Posterior") as progress:
        parts = _reported(parts, num_items, progress)
        save_posterior(out, parts, num_items, program.config.num_components, table.items)
    return num_items, backend or "NumPy"


def _reported(parts: Iterator[Gaussian], num_items: int, progress: Rows) -> Iterator[Gaussian]:
    done = 0
    for part in parts:
        yield part
        done += len(part.loc)
        progress(done, num_items)
