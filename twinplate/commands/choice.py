"""What the command `choose` does, apart from reading the command line."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from twinplate.backends import available_backends
from twinplate.choosing.held_out import (
    check_components,
    held_out_evidence,
    independent_evidence,
    some_items,
    usual_components,
)
from twinplate.choosing.rule import choose
from twinplate.choosing.trials import try_covariances
from twinplate.choosing.verdict import Verdict, sentences
from twinplate.commands.told import tell, tell_data
from twinplate.data.blocks import Array
from twinplate.data.columns import Wanted, listed, split_names
from twinplate.data.readers import load_matrix, without_constants
from twinplate.data.table import check_matrix
from twinplate.progress import rows_progress, working
from twinplate.words import counted

SEED = 0  # of the parts that items are held out in


def run_choose(
    data: Path, components: tuple[int, ...], drop: str, id_column: str, console: Console
) -> Verdict:
    """Read the data, choose, and print the choice. components: to choose from; () for the usual ones.

    Raises InputError for whatever cannot be used.
    """
    x = _items(data, Wanted((), split_names(drop), id_column), console)
    verdict = decide(x, components or usual_components(x.shape[1]), _options(x, drop, id_column))
    _show(verdict, console)
    return verdict


def _items(data: Path, wanted: Wanted, console: Console) -> Array:
    """The items to choose by, in memory and in random order."""
    with rows_progress(f"Checking {data.name}") as progress:
        table = load_matrix(data, progress, wanted.choose)
    check_matrix(table, missing="mask")
    if table.statistics.constant.any():
        table = without_constants(table)
    tell_data(console, table, listed(table.columns) if table.named else "by their place")
    x = some_items(table.x, SEED)
    if len(x) < len(table.x):
        tell(console, f"Choosing by {len(x):,} of them, drawn at random")
    return x[~np.isnan(x).all(axis=1)]


def _options(x: Array, drop: str, id_column: str) -> tuple[str, ...]:
    """Of `fit` for these data, beside what is chosen."""
    given = (("--drop", drop), ("--id-column", id_column))
    words = [word for name, value in given if value for word in (name, value)]
    return (*words, *(("--missing", "mask") if np.isnan(x).any() else ()))


def decide(x: Array, components: tuple[int, ...], options: tuple[str, ...] = ()) -> Verdict:
    """The choice for items in random order, `x` (N, D), NaN where missing. Raises InputError.

    options: more words for the command that fits what was chosen.
    """
    check_components(components, x)
    with working("Choosing") as told, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of a part of the items: the fit will say its own
        scores = held_out_evidence(x, components, told)
        found = choose(scores)
        k = components[found.chosen]
        none = choose(np.column_stack([independent_evidence(x), scores[:, found.chosen]]))
        trials = try_covariances(x, k, available_backends(), told)
    return Verdict(components, found, tuple(trials), len(x), options, none.chosen == 0)


def _show(verdict: Verdict, console: Console) -> None:
    found = verdict.by_components
    table = Table(
        title=f"Held-out log evidence of {counted(verdict.items, 'item')}, nats per item",
        title_justify="left",
    )
    for name in ("components", "log evidence", "behind the choice", "±", ""):
        table.add_column(name, justify="left" if not name else "right")
    for i, k in enumerate(verdict.components):
        behind = (
            (f"{found.behind[i]:.4f}", f"{found.error[i]:.4f}") if i != found.chosen else ("", "")
        )
        mark = "chosen" if i == found.chosen else "best" if i == found.best else ""
        table.add_row(str(k), f"{found.mean[i]:.4f}", *behind, mark)
    console.print(table)
    for line in sentences(verdict):
        tell(console, line)
