"""Tables in Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twinplate.data.columns import Choose, default_name, name_items
from twinplate.data.table import Raw, column_name, unreadable
from twinplate.errors import InputError


def read_parquet(path: Path, choose: Choose) -> Raw:
    """The chosen columns; row labels of a pandas frame name the items."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow: run `pip install 'twinplate[all]'`.") from error
    try:
        table = pq.ParquetFile(path).read()  # read_table would add a column for a folder `year=7`
        # pandas stores a frame's row labels as one more column: no feature, but names of items
        labels = (table.schema.pandas_metadata or {}).get("index_columns", [])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, "Parquet") from error
    index = {name: table.column(name) for name in labels if name in table.column_names}
    table = table.select([j for j, name in enumerate(table.column_names) if name not in labels])
    names = tuple(name.strip() or default_name(j) for j, name in enumerate(table.column_names))
    choice = choose(path, names, True)
    found = {
        j: [str(value) for value in table.column(j).to_pylist()]
        for j in (*choice.perhaps, *choice.labels)
    }
    found = {j: t for j, t in found.items() if j in choice.labels or name_items(names[j], t)}
    places = tuple(j for j in sorted(choice.features) if j not in found)
    numeric = ("is_integer", "is_floating", "is_boolean", "is_decimal", "is_null")
    x = np.empty((len(table), len(places)))
    for i, j in enumerate(places):
        column = table.column(j)
        if not any(getattr(pa.types, test)(column.type) for test in numeric):
            name = column_name(names[j], j)
            raise InputError(
                f"{path}: {name} has type {column.type}, no numbers; leave the column out, with --drop "
                "or --id-column."
            )
        x[:, i] = column.cast(pa.float64(), safe=False).to_numpy()
    if not len(table) or not names:
        raise InputError(f"{path} holds no data: its shape is {table.shape}.")
    texts = {name: list(map(str, column.to_pylist())) for name, column in index.items()}
    texts = {name: items for name, items in texts.items() if len({*items}) == len(items)}
    found = dict(enumerate(texts.values(), len(names))) | found  # of these the last ones count
    return Raw(x, places, (*names, *texts), True, choice, found)
