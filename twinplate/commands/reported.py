"""What the command `report` does, apart from reading the command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console

from twinplate.commands.answer import STDOUT
from twinplate.commands.run_data import checked_offsets, read_run
from twinplate.commands.told import tell
from twinplate.data.columns import Fitted
from twinplate.data.readers import load_matrix
from twinplate.data.table import Table
from twinplate.errors import InputError
from twinplate.files import require_place, write_text
from twinplate.progress import rows_progress
from twinplate.reporting.page import as_dict, report_page
from twinplate.reporting.runs import read_report
from twinplate.reporting.sentences import headline
from twinplate.training.loading import fit_of
from twinplate.training.run_format import SavedRun
from twinplate.words import counted


def run_report(
    runs: list[Path], out: Path, data: Path | None, json: Path | None = None
) -> dict[str, Any]:
    """Write the page on the runs to `out`; its figures, for JSON. Raises InputError.

    json: where they will be written, which is to be another file.
    """
    _check(runs, out, json)
    console = Console()
    saved = [read_run(path, console) for path in runs]
    tables: dict[tuple[Fitted, tuple[str, ...]], Table | None] = {}
    found = []
    for path, run in zip(runs, saved, strict=True):
        run.check_told()
        table, offsets = None, None
        if data is not None:
            table, items = _table(path, run, data, tables)
            offsets = checked_offsets(data, table, run, fit_of(run), items)
        with rows_progress(f"Exact answer, {path.name}") as progress:
            found.append(read_report(str(path), run, _size(path), table, progress, offsets))
    words = ["twinplate", "report", *map(str, runs), *(["--data", str(data)] if data else [])]
    write_text(out, report_page(found, shlex.join([*words, "--out", str(out)])))
    also = f" and {json}" if json not in (None, STDOUT) else ""
    tell(console, f"{headline(found).text}\nWrote {out}{also}")
    return as_dict(found)


def _check(runs: list[Path], out: Path, json: Path | None) -> None:
    """Raise InputError, before the work, for what cannot be written, and for a run that is given twice."""
    require_place(out)
    if json is not None and json.absolute() == out.absolute():
        raise InputError(f"--json and --out are both {out}; expected two files")
    places = [run.resolve() for run in runs]
    twice = [run for n, run in enumerate(runs) if places[n] in places[:n]]
    if twice:
        raise InputError(f"{twice[0]} is given twice; expected every run once")


def _table(
    path: Path,
    run: SavedRun,
    data: Path,
    tables: dict[tuple[Fitted, tuple[str, ...]], Table | None],
) -> tuple[Table, tuple[str, ...]]:
    """The data as the run takes them, and the items that it chose of them; read once for like runs.

    The items are those that the run was fitted to, where the data have them all; else they are new, and all
    are taken.
    """
    fitted, selected = Fitted.of(run.data), tuple(run.data.get("selected", ()))
    for items in dict.fromkeys((selected, ())):
        key = fitted, items
        if key not in tables:
            tables[key] = _read(data, fitted, items)
        if (table := tables[key]) is not None:
            break
    assert table is not None  # without a choice of items, `_read` gives a table or raises
    if table.x.shape[1] != len(fitted.columns):
        raise InputError(
            f"the data have {counted(table.x.shape[1], 'column')}; the run {path} was fitted on "
            f"{len(fitted.columns)}"
        )
    return table, items


def _read(data: Path, fitted: Fitted, items: tuple[str, ...]) -> Table | None:
    """The chosen items of the data; None where they are not all there."""
    try:
        with rows_progress(f"Checking {data.name}") as progress:
            return load_matrix(
                data,
                progress,
                fitted.choose,
                fingerprinted=True,
                layer=fitted.layer,
                items=items,
            )
    except InputError:
        if not items:
            raise
        return None


def _size(path: Path) -> int:
    """Bytes of the files in a run directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
