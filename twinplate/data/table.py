"""A data matrix with the names of its columns, and whether a model can be fitted to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import Array, Rows, blocks
from twinplate.data.columns import Choice, Choose, default_name, listed
from twinplate.data.statistics import Statistics
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.words import are, counted

Missing = Literal["error", "mask"]
Write = Callable[[Array], None]  # given the next rows of a matrix, (M, D)


@dataclass(frozen=True)
class Names:
    """columns: of the D features; none for a file that has no names.  items: (N,), if they have names.

    item_column: what the column of these is called.
    others: further names of the items (N,), by what their columns are called.
    """

    columns: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    item_column: str = ""
    others: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, eq=False)
class Raw:
    """What a reader finds in a file: `x` (N, W), unchecked, whose columns have these `places` in the file.

    names: of all columns of the file, `named` if it has them.  choice: among these columns.
    labels: what the items are called, by the place of the column.
    """

    x: Matrix
    places: tuple[int, ...]
    names: tuple[str, ...]
    named: bool
    choice: Choice
    labels: dict[int, list[str]]


@dataclass(frozen=True, eq=False)
class Beside:
    """Values of the items beside a matrix, (N,) by name, `what` they are, names of its items and columns."""

    values: Mapping[str, Any]
    what: str
    items: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Table:
    """A data matrix `x` (N, D), NaN where an entry is missing, the names of its D columns, its statistics.

    `x` is float64 in memory, or a file, of whatever real type that has.
    `fingerprint` is that of `fingerprint(x)`, or empty where it was not asked for.
    named: whether the file names its columns.  places: of the D columns in the file; empty for all.
    id_columns: the file's columns that name the items.  items: these names (N,), if the file has any.
    others: of the other `id_columns`, what they hold.
    left_out: the file's other columns.  constant: of these, the ones left out because they do not vary.
    """

    x: Matrix
    columns: tuple[str, ...]
    statistics: Statistics
    fingerprint: str = ""
    named: bool = False
    places: tuple[int, ...] = ()
    id_columns: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    others: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def name_of(self, j: int) -> str:
        """How a message names column `j` of `x`."""
        return column_name(self.columns[j], self.places[j] if self.places else j)


def raw_of(
    path: Path,
    x: np.ndarray,
    columns: tuple[str, ...],
    items: tuple[str, ...],
    called: str,
    choose: Choose,
) -> Raw:
    """The chosen columns of a matrix in memory, whose items are named by a column that is called so.

    columns, items: () where they have no names.  Raises InputError for a matrix without entries.
    """
    if 0 in x.shape:
        raise InputError(f"{path} holds no data: its shape is {x.shape}.")
    names = columns or tuple(map(default_name, range(x.shape[1])))
    choice = choose(path, names, bool(columns))
    places = tuple(sorted(choice.features))
    labels = {len(names): list(items)} if items else {}
    return Raw(
        x[:, places],
        places,
        (*names, called)[: len(names) + len(labels)],
        bool(columns),
        choice,
        labels,
    )


def check_matrix(table: Table, *, missing: Missing) -> None:
    """Raise InputError where a model cannot be fitted to the table.

    That is: missing entries with `missing="error"`, and a column without any entry. An item without any entry
    adds nothing to the likelihood.
    """
    found = table.statistics
    empty = found.observed == 0
    if empty.any():
        raise InputError(f"Columns without any entry: {_listed(table, empty)}. Drop them.")
    if missing == "error" and found.missing.count:
        row, column = found.missing.first
        count = found.missing.count
        raise InputError(
            f"{counted(count, 'entry', 'entries')} {are(count)} missing, the first in row {row + 1}, "
            f"{table.name_of(column)}: pass `--missing mask` to leave them out of the model."
        )


def fingerprint(x: Matrix, progress: Rows | None = None) -> str:
    """SHA-256, in hex, of the shape and the float64 values of `x`; all NaNs count as the same value.

    `progress` is told the rows read and the rows in all.
    """
    digest = Fingerprint(x.shape)
    for _, block in blocks(x, progress):
        digest.add(block)
    return digest.hex()


class Fingerprint:
    """What `fingerprint` is made of: given the blocks of a matrix of this shape, one after the other."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._digest = hashlib.sha256(f"float64 {shape} ".encode())

    def add(self, block: Array) -> None:
        """The next rows, (M, D)."""
        self._digest.update(np.where(np.isnan(block), np.nan, block).astype("<f8").tobytes())

    def hex(self) -> str:
        """SHA-256, in hex, of the shape and of the blocks that were added so far."""
        return self._digest.hexdigest()


def column_name(name: str, place: int) -> str:
    """How a message names the column of this name, at this place of the file."""
    default = default_name(place)
    return default if name == default else f"{default} ({name!r})"


def unreadable(path: Path, kind: str) -> InputError:
    """What to raise of a file that is no file of this kind."""
    return InputError(f"{path} cannot be read: it is truncated, damaged or no {kind} file.")


def _listed(table: Table, chosen: npt.ArrayLike) -> str:
    """The names of the chosen columns, at most five of them."""
    return listed([table.name_of(int(j)) for j in np.flatnonzero(chosen)], most=5)
