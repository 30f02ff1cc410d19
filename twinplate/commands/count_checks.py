"""Entries and items of counts in a file that cannot be, called as the file calls them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twinplate.data.blocks import blocks
from twinplate.data.statistics import Places
from twinplate.data.table import Table
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.programs.likelihood import COUNTS, wrong_value


def check_entries(data: Path, table: Table, likelihood: str, instead: str = "") -> None:
    """Raise InputError where an entry of `table`, read of `data`, cannot be under the likelihood.

    instead: what else can be done than to change the data.
    """
    if likelihood == "normal":
        return
    for first, block in blocks(table.x):
        if wrong := wrong_value(likelihood, block):
            row, column, why = wrong
            where = f"row {first + row + 1}, {table.name_of(column)}"
            raise InputError(f"{data} holds {block[row, column]:.12g} in {where}, {why}{instead}")


def told_of_large(data: Path, table: Table, likelihood: str, precision: str) -> str:
    """What is to be said before training of counts that its precision does not hold; "" where it does."""
    most = 2.0 ** (np.finfo(precision).nmant + 1)
    if likelihood not in COUNTS or not (table.statistics.high > most).any():
        return ""
    places = Places()
    for first, block in blocks(table.x):
        places.add(block > most, first)
    row, column = places.first
    value = table.x[row : row + 1][0, column]
    return (
        f"{data} holds {value:.12g} in row {row + 1}, {table.name_of(column)}, and "
        f"{precision} has not every whole number above {most:.0f}: take `--precision float64`"
    )


def check_totals(data: Path, table: Table, config: ProgramConfig, fitting: bool) -> None:
    """Raise InputError for an item without any count, where the offset of an item is its counts in all."""
    if config.offset != "total":
        return
    found = [
        first + int(n)
        for first, block in blocks(table.x)
        for n in np.flatnonzero((np.nansum(block, axis=1) == 0) & ~np.isnan(block).all(axis=1))
    ]
    if not found:
        return
    item = f"item {table.items[found[0]]!r}" if table.items else f"row {found[0] + 1}"
    more = f" and {len(found) - 1:,} more count" if len(found) > 1 else " counts"
    advice = "give --offset COLUMN or --no-offset"
    other = advice if fitting else "use a run that was fitted with --offset COLUMN or --no-offset"
    raise InputError(
        f"{item} of {data}{more} nothing at all, so that no offset can be told from it; leave such items "
        f"out, or {other}"
    )
