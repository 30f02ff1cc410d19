"""Offsets of items that stand in a column of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from twinplate.data.beside import load_beside
from twinplate.data.blocks import Array, gather
from twinplate.data.columns import Wanted
from twinplate.data.readers import load_items
from twinplate.data.statistics import Statistics
from twinplate.data.stored import Matrix
from twinplate.data.table import Table
from twinplate.errors import InputError
from twinplate.programs.likelihood import COUNTS, LIKELIHOODS
from twinplate.programs.offsets import given_offsets
from twinplate.training.run_format import SavedRun

SMALL = 20.0  # mean of counts below which a normal is far from them
LOOKED_AT = 2000  # items at most
FEWEST = 20  # items from which whole numbers are no accident


@dataclass(frozen=True)
class Offsets:
    """What a command is asked for: the likelihood, the column of the offsets, or none of them."""

    likelihood: str = "normal"
    column: str = ""
    none: bool = False

    @property
    def program_offset(self) -> str:
        """`ProgramConfig.offset`."""
        return "given" if self.column else "none" if self.none else ""

    def check(self) -> None:
        """Raise InputError for offsets of another likelihood than of counts, or asked for in two ways."""
        if self.likelihood not in LIKELIHOODS:
            raise InputError(
                f"--likelihood is {self.likelihood!r}; expected one of {', '.join(LIKELIHOODS)}"
            )
        asked = "--offset" if self.column else "--no-offset" if self.none else ""
        if self.column and self.none:
            raise InputError("--offset and --no-offset are both given; expected one of them")
        if asked and self.likelihood not in COUNTS:
            raise InputError(
                f"{asked} is given with --likelihood {self.likelihood}; expected "
                f"{' or '.join(COUNTS)}: offsets are for counts"
            )

    def beside(self, data: Path, wanted: Wanted) -> Wanted:
        """The features, of which the column of the offsets is none."""
        if self.column and load_beside(data, self.column, layer=wanted.layer) is None:
            return replace(wanted, drop=(*wanted.drop, self.column))
        return wanted

    def read(self, data: Path, table: Table, wanted: Wanted) -> Array | None:
        """The offsets (N,) of `table`, which was read of `data`; None without a column."""
        if not self.column:
            return None
        ids = table.id_columns[-1] if table.id_columns else ""
        return read_offsets(data, self.column, wanted.items, ids, wanted.layer)


NORMAL = Offsets()


def read_offsets(
    data: Path, column: str, items: Sequence[str] = (), id_column: str = "", layer: str = ""
) -> Array:
    """The offsets (N,) in this column of `data`, of the chosen items. Raises InputError for what are none.

    Of AnnData and datasets of xarray they may stand beside the matrix (`twinplate.data.beside`).
    """
    found = load_beside(data, column, layer=layer, items=items)
    if found is None:
        wanted = Wanted((column,), id_column=id_column if items else "")
        try:
            matrix = load_items(data, wanted.choose, layer=layer, items=items)
        except InputError as error:
            raise InputError(
                f"{error}; the offsets of the items are expected in column {column!r}"
            ) from None
        found = np.asarray(matrix, np.float64)[:, 0]
    try:
        return given_offsets(found, len(found))
    except InputError as error:
        raise InputError(f"column {column!r} of {data}: {error}") from None


def offsets_of_run(data: Path, run: SavedRun, items: Sequence[str] = ()) -> Array | None:
    """Those of the items of `data`, by the column that the run had; None where it has none."""
    column = run.data.get("offset", "")
    if not column:
        return None
    ids = run.data.get("id_columns", [])
    return read_offsets(data, column, items, ids[-1] if ids else "", run.data.get("layer", ""))


def told_of_counts(x: Matrix, statistics: Statistics) -> str:
    """What is to be said of data that are small counts, to somebody who fits a normal likelihood to them."""
    with np.errstate(invalid="ignore"):
        low, high, mean = statistics.low, statistics.high, np.nanmedian(statistics.mean)
    if len(x) < FEWEST or not (low >= 0).all() or mean > SMALL:
        return ""
    some = gather(x, np.arange(0, len(x), -(-len(x) // LOOKED_AT)))
    if np.any(some[~np.isnan(some)] % 1):
        return ""
    two = high.max() == 1
    kind, likelihood = ("zeros and ones", "bernoulli") if two else ("small counts", "poisson")
    other = "" if two else ", or `negative-binomial` where they vary more"
    return (
        f"the data are {kind}, and a normal likelihood gives probability to what cannot be, below zero and "
        f"between whole numbers: take `--likelihood {likelihood}`{other}"
    )
