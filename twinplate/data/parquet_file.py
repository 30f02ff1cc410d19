"""Tables in Parquet files: read whole where they are small, and else by their row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from twinplate.data.blocks import fitting
from twinplate.data.columns import Choose, default_name, name_items
from twinplate.data.stored import Stored
from twinplate.data.table import Raw, column_name, unreadable
from twinplate.errors import InputError

NUMERIC = ("is_integer", "is_floating", "is_boolean", "is_decimal", "is_null")
BUFFER = 2**16  # bytes of each column that are read ahead


def read_parquet(path: Path, choose: Choose) -> Raw:
    """The chosen columns; row labels of a pandas frame name the items."""
    source = _opened(path)
    # pandas stores a frame's row labels as one more column: no feature, but names of items
    known = source.schema.pandas_metadata or {}
    index = [name for name in known.get("index_columns", []) if name in source.schema.names]
    at = [j for j, name in enumerate(source.schema.names) if name not in index]
    names = tuple(source.schema.names[j].strip() or default_name(i) for i, j in enumerate(at))
    choice = choose(path, names, True)
    labels = choice.labels if choice.with_items else ()
    index = index if choice.with_items else []
    texts = _texts(source, [source.schema.names.index(name) for name in index])
    chosen = sorted({*choice.perhaps, *labels})
    found = dict(zip(chosen, _texts(source, [at[j] for j in chosen]).values(), strict=True))
    found = {j: t for j, t in found.items() if j in labels or name_items(names[j], t)}
    places = tuple(j for j in sorted(choice.features) if j not in found)
    for j in places:
        kind = source.schema.field(at[j]).type
        if not source.is_numeric(kind):
            name = column_name(names[j], j)
            raise InputError(
                f"{path}: {name} has type {kind}, no numbers; leave the column out, with --drop "
                "or --id-column."
            )
    x = StoredParquet(source, tuple(at[j] for j in places))
    if not len(x) or not names:
        raise InputError(f"{path} holds no data: its shape is {(len(x), len(names))}.")
    unique = {j: items for j, items in texts.items() if len({*items}) == len(items)}
    found = dict(enumerate(unique.values(), len(names))) | found  # of these the last ones count
    all_names = (*names, *(source.schema.names[j] for j in unique))
    return Raw(x, places, all_names, True, choice, found)


@dataclass(frozen=True, eq=False)
class _Source:
    """A Parquet file: what its end says of it, and how to open it, anew for every thread that reads."""

    path: Path
    arrow: Any  # the module pyarrow
    parquet: Any  # pyarrow.parquet
    metadata: Any
    schema: Any

    def open(self) -> Any:
        return self.parquet.ParquetFile(self.path, metadata=self.metadata, buffer_size=BUFFER)

    def is_numeric(self, kind: Any) -> bool:
        return any(getattr(self.arrow.types, test)(kind) for test in NUMERIC)

    def selection(self, columns: Sequence[int]) -> list[str] | None:
        """Names to be decoded so that these columns are there; None for all, as where two have one name."""
        names = self.schema.names
        return [names[j] for j in columns] if len({*names}) == len(names) else None

    def picked(self, part: Any, columns: Sequence[int]) -> list[Any]:
        """These columns of what was decoded, a table or a batch of rows of it."""
        if len(part.schema.names) == len(self.schema.names):
            return [part.column(j) for j in columns]
        found = part.schema.names
        return [part.column(found.index(self.schema.names[j])) for j in columns]


def _opened(path: Path) -> _Source:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow: run `pip install 'twinplate[all]'`.") from error
    try:
        with pq.ParquetFile(path) as file:
            return _Source(path, pa, pq, file.metadata, file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, "Parquet") from error


def _texts(source: _Source, columns: Sequence[int]) -> dict[int, list[str]]:
    """The cells of these columns of the file, as text."""
    if not columns:
        return {}
    try:
        with source.open() as file:
            table = file.read(columns=source.selection(columns))
    except (source.arrow.ArrowException, OSError, ValueError) as error:
        raise unreadable(source.path, "Parquet") from error
    cells = [column.to_pylist() for column in source.picked(table, columns)]
    return {j: list(map(str, column)) for j, column in zip(columns, cells, strict=True)}


class StoredParquet(Stored):
    """Columns of a Parquet file, at these places of the file, as float64."""

    def __init__(self, source: _Source, columns: tuple[int, ...]) -> None:
        sizes = [
            source.metadata.row_group(g).num_rows for g in range(source.metadata.num_row_groups)
        ]
        edges = [*accumulate(sizes, initial=0)]
        super().__init__((edges[-1], len(columns)), np.float64, edges)
        self._source, self._columns = source, columns

    def with_columns(self, places: Sequence[int]) -> StoredParquet:
        return StoredParquet(self._source, tuple(self._columns[j] for j in places))

    def pieces(self, start: int, stop: int) -> Iterator[np.ndarray]:
        source = self._source
        try:
            with source.open() as file:
                for group in np.flatnonzero((self.edges[1:] > start) & (self.edges[:-1] < stop)):
                    yield from self._of_group(file, int(group), start, stop)
        except (source.arrow.ArrowException, OSError, ValueError) as error:
            raise unreadable(source.path, "Parquet") from error

    def _of_group(self, file: Any, group: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Those of one row group: what is before them is decoded, what is behind them is not."""
        at, last = int(self.edges[group]), min(stop, int(self.edges[group + 1]))
        batches = file.iter_batches(
            batch_size=fitting(8 * max(1, self.shape[1]), 2**16),
            row_groups=[group],
            columns=self._source.selection(self._columns),
        )
        for batch in batches:
            rows = slice(max(start - at, 0), min(last - at, batch.num_rows))
            if rows.start < rows.stop:
                yield self._numbers(batch.slice(rows.start, rows.stop - rows.start))
            at += batch.num_rows
            if at >= last:
                return
        if at < last:
            raise ValueError("rows are missing")

    def _numbers(self, batch: Any) -> np.ndarray:
        x = np.empty((batch.num_rows, self.shape[1]))
        for i, column in enumerate(self._source.picked(batch, self._columns)):
            numbers = column.cast(self._source.arrow.float64(), safe=False)
            x[:, i] = numbers.to_numpy(zero_copy_only=False)
        return x
