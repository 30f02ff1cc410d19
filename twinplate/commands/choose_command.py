"""The command `choose`: how many components, which covariance, which backend."""

from __future__ import annotations

import json as json_format
import re
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from twinplate.backends import available_backends
from twinplate.choosing.held_out import (
    check_components,
    held_out_evidence,
    some_items,
    usual_components,
)
from twinplate.choosing.picture import check_picture, write_picture
from twinplate.choosing.rule import choose as by_rule
from twinplate.choosing.trials import try_covariances
from twinplate.choosing.verdict import Verdict, as_dict, sentences
from twinplate.commands.options import Data, Drop, IdColumn, JsonOut
from twinplate.commands.told import tell, tell_data
from twinplate.data.blocks import Array
from twinplate.data.columns import Wanted, listed, split_names
from twinplate.data.readers import load_matrix, without_constants
from twinplate.data.table import check_matrix
from twinplate.errors import InputError
from twinplate.files import replacing, require_place, write_text
from twinplate.progress import rows_progress, working
from twinplate.words import counted

SEED = 0  # of the parts that items are held out in
MOST_TRIED = 50  # numbers of components


def choose(
    data: Data,
    components: Annotated[
        str,
        typer.Option(
            help="To choose from, such as 1-8 or 2,4,8; by default 1 to at most 10, as the features allow."
        ),
    ] = "",
    picture: Annotated[
        Path | None, typer.Option(help="Draw the choice: FILE.png or FILE.svg.")
    ] = None,
    json: JsonOut = None,
    drop: Drop = "",
    id_column: IdColumn = "",
) -> None:
    """Say how many components DATA have, and which covariance and backend to fit them with.

    Components by the exact log evidence of items held out, the fewest within one standard error of the best;
    the covariance by what short fits reach on such items; the backend by its time on this machine.

    Example: twinplate choose DATA.csv --components 1-8 --picture choice.png
    """
    if picture is not None:
        check_picture(picture)
    if json is not None:
        require_place(json)
    wanted = parse_components(components)
    console = Console()
    x = _items(data, Wanted((), split_names(drop), id_column), console)
    verdict = decide(x, wanted or usual_components(x.shape[1]), _options(x, drop, id_column))
    _show(verdict, console)
    if json is not None:
        write_text(json, json_format.dumps(as_dict(verdict), indent=2) + "\n")
    if picture is not None:
        with replacing(picture) as temporary:
            write_picture(temporary, verdict, picture.suffix.lower())
    written = [str(path) for path in (json, picture) if path is not None]
    if written:
        tell(console, f"Wrote {' and '.join(written)}")


def parse_components(text: str) -> tuple[int, ...]:
    """The numbers in "1-8" or "2,4,8", in rising order. Raises InputError.

    >>> parse_components("8,2-4")
    (2, 3, 4, 8)
    """
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if match is None:
            raise InputError(f"--components is {text!r}; expected numbers such as 1-8 or 2,4,8")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last:
            raise InputError(
                f"--components has {part!r}; expected numbers from 1 on, in rising order"
            )
        if len(found) + last - first >= MOST_TRIED:
            raise InputError(f"--components has more than {MOST_TRIED} numbers; expected fewer")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


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
        found = by_rule(held_out_evidence(x, components, told))
        k = components[found.chosen]
        trials = try_covariances(x, k, available_backends(), told)
    return Verdict(components, found, tuple(trials), len(x), options)


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
