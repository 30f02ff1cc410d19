"""What the command `choose` does, apart from reading the command line."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from twinplate.backends import available_backends, default_backend
from twinplate.choosing.counts import MOST_COUNTS, Counts, held_out_bounds, independent_counts
from twinplate.choosing.held_out import (
    check_components,
    check_parts,
    held_out_evidence,
    independent_evidence,
    most_fitted,
    some_places,
    told_apart,
    usual_components,
)
from twinplate.choosing.rule import Choice, choose, ruling
from twinplate.choosing.trials import try_covariances
from twinplate.choosing.verdict import Verdict, sentences
from twinplate.commands.count_checks import check_entries, check_totals
from twinplate.commands.offset_column import NORMAL, Offsets, told_of_counts
from twinplate.commands.told import tell, tell_data
from twinplate.data.blocks import Array, gather
from twinplate.data.columns import Wanted, joined, listed
from twinplate.data.readers import load_matrix, without_constants
from twinplate.data.table import check_matrix
from twinplate.programs.config import ProgramConfig
from twinplate.programs.likelihood import COUNTS
from twinplate.progress import rows_progress, working
from twinplate.words import counted

SEED = 0  # of the parts that items are held out in


def run_choose(
    data: Path,
    components: tuple[int, ...],
    wanted: Wanted,
    console: Console,
    asked: Offsets = NORMAL,
) -> Verdict:
    """Read the data, choose, and print the choice. components: to choose from; () for the usual ones.

    Raises InputError for whatever cannot be used.
    """
    asked.check()
    sample = _items(data, wanted, console, asked)
    x = sample.x
    usual = [k for k in usual_components(x.shape[1]) if k <= max(1, most_fitted(*x.shape))]
    verdict = decide(x, components or tuple(usual), _options(x, wanted, asked), sample)
    verdict = replace(verdict, data=str(data), notes=sample.notes)
    _show(verdict, console)
    return verdict


@dataclass(frozen=True, eq=False)
class Sample:
    """Items to choose by, `x` (N, D), in memory and in random order, what they and the columns are called.

    notes: what is to be said of them.  counts: of what likelihood they are, if not normal.
    """

    x: Array
    columns: tuple[str, ...]
    items: tuple[str, ...]
    notes: tuple[str, ...] = ()
    counts: Counts | None = None


def _items(data: Path, wanted: Wanted, console: Console, asked: Offsets) -> Sample:
    wanted = asked.beside(data, wanted)
    with rows_progress(f"Checking {data.name}") as progress:
        table = load_matrix(data, progress, wanted.choose, layer=wanted.layer, items=wanted.items)
    check_matrix(table, missing="mask")
    if table.statistics.constant.any() and asked.likelihood not in COUNTS:
        table = without_constants(table)
    tell_data(
        console, table, listed(table.columns) if table.named else "by their place", asked.column
    )
    places, offsets = some_places(len(table.x), SEED), None
    if asked.likelihood != "normal":
        check_entries(data, table, asked.likelihood, ", or --likelihood normal")
        config = ProgramConfig(
            table.x.shape[1], 1, likelihood=asked.likelihood, offset=asked.program_offset
        )
        check_totals(data, table, config, fitting=True)
        offsets, places = asked.read(data, table, wanted), places[:MOST_COUNTS]
    x = gather(table.x, places).astype(np.float64)
    if len(x) < len(table.x):
        tell(console, f"Choosing by {len(x):,} of them, drawn at random")
    seen = ~np.isnan(x).all(axis=1)
    names = [table.items[n] if table.items else f"row {n + 1}" for n in places[seen].tolist()]
    columns = tuple(table.name_of(j) for j in range(x.shape[1]))
    if asked.likelihood == "normal":
        told = told_of_counts(table.x, table.statistics)
        return Sample(x[seen], columns, tuple(names), (told,) if told else ())
    given = None if offsets is None else offsets[places[seen]]
    counts = Counts(asked.likelihood, asked.program_offset, given)
    return Sample(x[seen], columns, tuple(names), counts=counts)


def _options(x: Array, wanted: Wanted, asked: Offsets) -> tuple[str, ...]:
    """Of `fit` for these data, beside what is chosen."""
    given = (
        ("--drop", joined(wanted.drop)),
        ("--id-column", wanted.id_column),
        ("--items", joined(wanted.items)),
        ("--layer", wanted.layer),
        ("--likelihood", asked.likelihood if asked.likelihood != "normal" else ""),
        ("--offset", asked.column),
    )
    words = [word for name, value in given if value for word in (name, value)]
    words += ["--no-offset"] * asked.none
    return (*words, *(("--missing", "mask") if np.isnan(x).any() else ()))


def decide(
    x: Array,
    components: tuple[int, ...],
    options: tuple[str, ...] = (),
    sample: Sample | None = None,
) -> Verdict:
    """The choice for items in random order, `x` (N, D), NaN where missing. Raises InputError.

    options: more words for the command that fits what was chosen.  sample: what items and columns are called.
    """
    check_components(components, x)
    with working("Choosing") as told, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of a part of the items: the fit will say its own
        counts, drawn = sample.counts if sample else None, None
        if counts is None:
            scores = held_out_evidence(x, components, told, sample.columns if sample else ())
            independent = independent_evidence(x)
        else:
            check_parts(x, sample.columns if sample else (), varies=False)
            held_out = held_out_bounds(x, components, counts, _quick_backend(), told)
            scores, drawn = held_out.bound, held_out.mean_error
            independent = independent_counts(x, counts)
        found = choose(scores)
        k = components[found.chosen]
        none = choose(np.column_stack([independent, scores[:, found.chosen]]))
        trials = try_covariances(x, k, available_backends(), told, counts)
    return Verdict(
        components,
        found,
        tuple(trials),
        len(x),
        options,
        none.chosen == 0,
        min(told_apart(x.shape[1]), most_fitted(*x.shape)),
        ruling=_ruling(scores, found, independent, sample),
        drawn=drawn,
    )


def _quick_backend() -> str:
    """That of many short fits: Pyro compiles nothing. Raises InputError where none is installed."""
    return "pyro" if "pyro" in available_backends() else default_backend()


def _ruling(scores: Array, found: Choice, independent: Array, sample: Sample | None) -> str:
    """What the item is called that rules the error of a difference that is gone by; "" without one."""
    chosen = scores[:, found.chosen]
    others = [scores[:, found.best], scores[:, max(found.chosen - 1, 0)], independent]
    for other in others:
        if (place := ruling(chosen - other)) is not None:
            return sample.items[place] if sample else f"row {place + 1}"
    return ""


def _show(verdict: Verdict, console: Console) -> None:
    found = verdict.by_components
    table = Table(
        title=f"Held-out {verdict.evidence} of {counted(verdict.items, 'item')}, nats per item",
        title_justify="left",
    )
    for name in ("components", verdict.evidence, "behind the choice", "±", ""):
        table.add_column(name, justify="left" if not name else "right")
    for i, k in enumerate(verdict.components):
        behind = (
            (f"{found.behind[i]:z.4f}", f"{found.error[i]:.4f}") if i != found.chosen else ("", "")
        )
        mark = "chosen" if i == found.chosen else "best" if i == found.best else ""
        about = "" if verdict.drawn is None else f" ± {verdict.drawn[i]:.4f}"
        table.add_row(str(k), f"{found.mean[i]:z.4f}{about}", *behind, mark)
    console.print(table)
    for line in sentences(verdict):
        tell(console, line)
    for note in verdict.notes:
        tell(console, f"Note: {note}")
