"""What the command `score` does, apart from reading the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from twinplate.commands.run_data import RunData, read_run_data
from twinplate.commands.told import tell
from twinplate.data.blocks import Array, blocks
from twinplate.data.columns import Wanted
from twinplate.data.table import Names
from twinplate.data.writers import check_table_file, table_file
from twinplate.errors import InputError
from twinplate.programs.importance import DRAWS, EvidenceBound, evidence_name, few_draws
from twinplate.progress import rows_progress
from twinplate.words import counted

COLUMNS = ("log_evidence", "elbo", "observed")
OF_COUNTS = ("evidence_bound", "evidence_bound_error", "effective_draws", "observed")
LOWEST = 5  # items named


def run_score(run: Path, data: Path, out: Path | None, also: Wanted) -> dict[str, Any]:
    """Print the scores and write those of every item to `out`; what was found, for JSON.

    Raises InputError for whatever cannot be used.
    """
    if out is not None:
        check_table_file(out)
    console = Console()
    given = read_run_data(run, data, also, console)
    is_bound = given.run.program.config.likelihood != "normal"
    columns = OF_COUNTS if is_bound else COLUMNS
    if is_bound:
        bound, unscored = given.fit.evidence_bound(given.table.x, offsets=given.offsets), ""
        found = _bounds(given, bound)
        report = _bound_report(given, bound, found[:, 3])
    else:
        found, unscored = _scores(given)
        report = _report(given, found)
    if out is not None:
        called = given.names.item_column
        names = Names(columns, given.names.items, "item" if called in columns else called)
        with table_file(out, found.shape, names) as write:
            write(found)
    _print(console, report, evidence_name(given.run.program.config.offset))
    if is_bound and (few := few_draws(found[:, 2])):
        tell(console, few)
    if unscored:
        tell(console, f"No ELBO: {unscored}")
    if out is not None:
        tell(console, f"Wrote {out}")
    return report


def _scores(given: RunData) -> tuple[Array, str]:
    """The COLUMNS of every item (N, 3), and why there is no ELBO, if there is none."""
    x, fit, unscored = given.table.x, given.fit, ""
    try:
        fit.posterior_blocks(x)
    except InputError as error:  # entries are missing, which the guide has never seen
        unscored = str(error)
    parts = []
    with rows_progress("Scoring") as progress:
        for _, block in blocks(x, progress):
            elbo = np.full(len(block), np.nan) if unscored else fit.elbo(block)
            observed = np.sum(~np.isnan(block), axis=1)
            parts.append(np.column_stack([fit.log_evidence(block), elbo, observed]))
    return np.concatenate(parts), unscored


def _bounds(given: RunData, bound: EvidenceBound) -> Array:
    """OF_COUNTS of every item (N, 4)."""
    observed = [np.sum(~np.isnan(block), axis=1) for _, block in blocks(given.table.x)]
    columns = bound.value, bound.error, bound.effective_draws, np.concatenate(observed)
    return np.column_stack(columns)


def _bound_report(given: RunData, bound: EvidenceBound, observed: Array) -> dict[str, Any]:
    """`_report` of bounds: their mean and its standard error, the draws of the item with the fewest."""
    nothing = np.full(len(observed), np.nan)
    report = _report(given, np.column_stack([bound.value, nothing, observed]), OF_COUNTS[0])
    return {**report, **bound.as_dict()}


def _report(given: RunData, found: Array, name: str = COLUMNS[0]) -> dict[str, Any]:
    """Means in nats per item, and the items with the lowest log evidence per observed entry.

    name: of the log evidence, in JSON.
    """
    evidence, elbo, observed = found.T
    per_entry = evidence / np.maximum(observed, 1)
    lowest = np.argsort(np.where(observed > 0, per_entry, np.inf), kind="stable")[:LOWEST]
    return {
        "items": len(found),
        "observed": int(observed.sum()),
        name: float(evidence.mean()),
        "elbo": None if np.isnan(elbo).any() else float(elbo.mean()),
        "lowest": [
            {
                "item": given.name_of(n),
                name: float(evidence[n]),
                "observed": int(observed[n]),
            }
            for n in lowest
            if observed[n]
        ],
    }


def _print(console: Console, report: dict[str, Any], bounded: str) -> None:
    table = Table(title=f"{counted(report['items'], 'item')}, nats per item", title_justify="left")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    name = OF_COUNTS[0] if OF_COUNTS[0] in report else COLUMNS[0]
    if name == OF_COUNTS[0]:
        value = f"{report[name]:.4f} ± {report['evidence_bound_error']:.4f}"
        table.add_row(f"{bounded}, importance-weighted bound", value)
        fewest = f"{report['least_effective_draws']:.0f} of {DRAWS}"
        table.add_row("effective draws, of the item with the fewest", fewest)
    else:
        table.add_row("exact log evidence", f"{report[name]:.4f}")
    if report["elbo"] is not None:
        table.add_row("expected ELBO of the guide, exact", f"{report['elbo']:.4f}")
        table.add_row("what the guide misses", f"{report['log_evidence'] - report['elbo']:.4f}")
    console.print(table)
    worst = ", ".join(
        f"{one['item']} {one[name] / one['observed']:.2f}" for one in report["lowest"]
    )
    tell(console, f"Lowest log evidence per observed entry: {worst}")
