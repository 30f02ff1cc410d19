"""Data files: matrices and generative parameters.

A data matrix has one row per item and one column per feature; a missing entry is NaN. Rows, columns
and lines are counted from 1 in every message.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from twinplate.data.anndata_file import read_anndata
from twinplate.data.blocks import Array, Rows, blocks, fitting, on_disk
from twinplate.data.columns import ALL, Choose, Wanted, default_name, listed, number
from twinplate.data.csv_file import read_csv
from twinplate.data.parquet_file import read_parquet
from twinplate.data.statistics import read_statistics
from twinplate.data.table import Fingerprint, Raw, Table, unreadable
from twinplate.errors import InputError
from twinplate.words import counted

GENERATIVE = {"loadings": "DK", "intercept": "D", "noise_scale": "D", "loc": "K", "scale": "K"}
SCALES = ("noise_scale", "scale")
MAPPED_BYTES = 2**26  # an NPY file larger than this stays on disk
NAMES = ("columns", "items")  # arrays of an NPZ file beside `x`


def load_matrix(
    path: Path,
    progress: Rows | None = None,
    choose: Choose | None = None,
    *,
    fingerprinted: bool = False,
) -> Table:
    """Read a data matrix from CSV, TSV, NPY, NPZ (the array `x`, or the only one), Parquet or H5AD.

    An NPY file of more than 64 MiB that is stored row by row is mapped rather than read: it may be
    larger than the memory, if its features are neighbours. `progress` is told the rows looked through and
    the rows in all. The fingerprint of the table is taken in the same pass, where it is asked for.

    choose: which columns are features; by default all but those that name the items
        (`twinplate.data.columns.Wanted`).

    A CSV is UTF-8, separated by commas, tabs or semicolons; a cell that is empty, `nan`, `NA`, `N/A`,
    `#N/A`, `<NA>`, `null` or `None` is missing. The first line is a header when it has text and no number,
    or numbers that count the columns (0, 1, 2, ..., or years) and below it stand numbers that do not; one
    cell fewer than below is R's way to name the items. Columns without a name are called "column 1", ...

    Raises:
        InputError: `path` holds no real, finite, non-empty matrix; names the file and the place.
    """
    path = Path(path)
    raw = _reader(path)(path, choose or ALL.choose)
    x = _real(str(path), raw.x)
    features = [j for j in raw.choice.features if j not in raw.labels]
    counting = raw.choice.counting and len(features) > 1 and features[0] == 0 and _counts(x)
    features = features[1:] if counting else features
    if not features:
        raise InputError(f"{path} holds no data: all its columns are left out.")
    x = _taken(x, [raw.places.index(j) for j in features])
    digest = Fingerprint(x.shape) if fingerprinted else None
    found = read_statistics(x, progress, digest.add if digest else None)
    names = raw.names
    ids = (*raw.labels, *([0] if counting else []))
    items = list(raw.labels.values())[-1] if raw.labels else ()
    if counting and not items and not on_disk(raw.x):
        items = [str(int(raw.x[0, 0]) + i) for i in range(len(x))]
    table = Table(
        x,
        tuple(names[j] for j in features),
        found,
        digest.hex() if digest else "",
        raw.named,
        tuple(features),
        tuple(names[j] for j in ids),
        tuple(items),
        tuple(name for j, name in enumerate(names) if j not in (*features, *ids)),
    )
    if found.infinite.count:
        row, column = found.infinite.first
        raise InputError(
            f"{path} holds {counted(found.infinite.count, 'infinite entry', 'infinite entries')}, the "
            f"first in row {row + 1}, {table.name_of(column)}: replace them by finite numbers or mark "
            "them as missing."
        )
    return table


def load_items(path: Path, choose: Choose) -> np.ndarray:
    """The chosen features of a matrix that `load_matrix` has looked at elsewhere; of a map no row is read."""
    raw = _reader(path)(path, choose)
    features = [j for j in raw.choice.features if j not in raw.labels]
    return _taken(_real(str(path), raw.x), [raw.places.index(j) for j in features])


def without_constants(table: Table) -> Table:
    """The table without its constant columns, which tell nothing; `Table.constant` names them.

    Raises InputError if no other column is there.
    """
    kept = [int(j) for j in np.flatnonzero(~table.statistics.constant)]
    gone = tuple(name for j, name in enumerate(table.columns) if j not in kept)
    if not kept:
        raise InputError(
            f"all columns are constant: {listed(table.columns)}; expected one or more that vary, from "
            "which noise can be learned, or `--loadings` with an NPZ file that has `noise_scale`"
        )
    x = _taken(table.x, kept)
    digest = Fingerprint(x.shape)
    places = table.places or tuple(range(len(table.columns)))
    return replace(
        table,
        x=x,
        columns=tuple(table.columns[j] for j in kept),
        statistics=read_statistics(x, also=digest.add),
        fingerprint=digest.hex() if table.fingerprint else "",
        places=tuple(places[j] for j in kept),
        left_out=(*table.left_out, *gone),
        constant=gone,
    )


def _counts(x: np.ndarray) -> bool:
    """Whether the first column of `x` is 0, 1, 2, ... or 1, 2, 3, ...: three numbers at least."""
    first = x[0, 0]
    if len(x) < 3 or first not in (0, 1) or x[1, 0] != first + 1 or x[2, 0] != first + 2:
        return False
    length = fitting(8 * x.shape[1], len(x))
    return all(
        np.array_equal(block[:, 0], first + np.arange(start, start + len(block)))
        for start, block in blocks(x[:, :1], length=length)
    )


def _taken(x: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """These columns of `x`; of a file, in memory unless they are neighbours."""
    first, last = columns[0], columns[-1] + 1
    if list(columns) == list(range(first, last)):
        part = x[:, first:last]
        return part if on_disk(x) else np.ascontiguousarray(part)
    taken = np.empty((len(x), len(columns)))
    for start, block in blocks(x):
        taken[start : start + len(block)] = block[:, columns]
    return taken


def _real(what: str, value: np.ndarray) -> np.ndarray:
    if value.dtype.kind not in "biuf":
        raise InputError(f"{what} holds {value.dtype} values; expected real numbers.")
    if on_disk(value):
        return value
    with np.errstate(over="ignore"):  # a wider float may become an infinity: refused by the caller
        return np.ascontiguousarray(value, dtype=np.float64)


def _reader(path: Path) -> Callable[[Path, Choose], Raw]:
    """The function that reads files with this suffix; `path` is a file that may be read."""
    readers = {
        ".csv": read_csv,
        ".tsv": read_csv,
        ".npy": _numpy,
        ".npz": _numpy,
        ".parquet": read_parquet,
        ".h5ad": read_anndata,
    }
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")
    if not path.is_file():
        raise InputError(f"{path} is a directory, not a file ({', '.join(readers)}).")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read: no permission.")
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} has none of the suffixes twinplate reads: {', '.join(readers)}.")
    return readers[path.suffix.lower()]


def _numpy(path: Path, choose: Choose) -> Raw:
    x = _mapped(path) if path.stat().st_size > MAPPED_BYTES else None
    named: dict[str, tuple[str, ...]] = {}
    if x is None:
        arrays = _numpy_arrays(path, _of_data)
        named = {
            n: _names(path, n, arrays.pop(n)) for n in NAMES if n in arrays and len(arrays) > 1
        }
        if len(arrays) != 1:
            found = ", ".join(arrays)
            raise InputError(f"{path} holds several arrays or none ({found}); name the data `x`.")
        x = next(iter(arrays.values()))
    if x.ndim != 2:
        raise InputError(f"{path} has shape {x.shape}; expected two dimensions (items, features).")
    if 0 in x.shape:
        raise InputError(f"{path} holds no data: its shape is {x.shape}.")
    for name, axis in (("items", 0), ("columns", 1)):
        if name in named and len(named[name]) != x.shape[axis]:
            raise InputError(
                f"{path} holds {counted(len(named[name]), 'name')} in `{name}` and an `x` of shape "
                f"{x.shape}; expected one for each {'item' if axis == 0 else 'feature'}."
            )
    columns = named.get("columns") or tuple(map(default_name, range(x.shape[1])))
    choice = choose(path, columns, "columns" in named)
    if "items" not in named:
        return Raw(x, tuple(range(len(columns))), columns, "columns" in named, choice, {})
    labels = {len(columns): list(named["items"])}
    places = tuple(range(len(columns)))
    return Raw(x, places, (*columns, "items"), "columns" in named, choice, labels)


def _of_data(names: list[str]) -> list[str]:
    """The arrays of an NPZ file that are read: `x`, and the names that stand beside it."""
    return [name for name in ("x", *NAMES) if name in names] if "x" in names else names


def _names(path: Path, what: str, value: np.ndarray) -> tuple[str, ...]:
    if value.dtype.kind not in "UiuT" or value.ndim != 1:
        raise InputError(
            f"{path} holds `{what}` of type {value.dtype} and shape {value.shape}; expected a row of names."
        )
    return tuple(map(str, value.tolist()))


def _mapped(path: Path) -> np.ndarray | None:
    """The matrix of an NPY file, mapped; None for a file that has to be read, or refused, as a whole."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # said in words by whoever reads it
        return None
    # by columns, each row of a mini-batch would be spread over the whole file
    by_rows = isinstance(array, np.memmap) and array.ndim == 2 and array.flags.c_contiguous
    return array if by_rows else None


def _numpy_arrays(path: Path, choose: Callable[[list[str]], list[str]]) -> dict[str, np.ndarray]:
    """The array of an NPY file, as `x`, or the arrays of an NPZ file whose names are chosen."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            return {name: np.asarray(loaded[name]) for name in choose(list(loaded.files))}
    # Damaged bytes make NumPy, zipfile, zlib and the header's parser raise a dozen different types.
    except Exception as error:
        if isinstance(error, ValueError) and "Object arrays" in str(error):
            raise InputError(f"{path} holds Python objects; expected real numbers.") from error
        raise unreadable(path, path.suffix[1:].upper()) from error


def load_generative(path: Path, features: Sequence[str] = ()) -> dict[str, Array]:
    """Read the generative parameters that are given rather than learned.

    CSV, NPY and Parquet hold `loadings` (D, K). NPZ holds `loadings` and, where wanted, `intercept`
    (D,), `noise_scale` (D,), the standard deviation of the noise, and the prior's `loc` (K,) and
    `scale` (K,).

    features: names of the D features, in the order that is wanted. A table whose rows are named, and not
        by numbers, is put into this order.

    Raises:
        InputError: as in `load_matrix`; also an unknown name, a shape that does not match the
            loadings, a value that is not finite, a scale that is not positive, rows of other features.
    """
    path = Path(path)
    _reader(path)
    npz = path.suffix.lower() == ".npz"
    arrays = _numpy_arrays(path, list) if npz else {"loadings": _loadings(path, features)}
    unknown = [name for name in arrays if name not in GENERATIVE]
    if unknown or "loadings" not in arrays:
        problem = f"unknown array {unknown[0]!r}" if unknown else "no array `loadings`"
        raise InputError(f"{path}: {problem}; allowed names are {', '.join(GENERATIVE)}.")
    shape = arrays["loadings"].shape
    if len(shape) != 2 or 0 in shape:
        raise InputError(f"{path}: `loadings` has shape {shape}; expected (D, K).")
    sizes = dict(zip("DK", shape, strict=True))
    return {name: _generative(path, name, value, sizes) for name, value in arrays.items()}


def _loadings(path: Path, features: Sequence[str]) -> Array:
    table = load_matrix(path, choose=Wanted(counting=False).choose)
    x, rows = np.array(table.x, dtype=np.float64), list(table.items)
    if not features or not rows or all(number(row) is not None for row in rows):
        return x
    missing = [name for name in features if name not in rows]
    unknown = [row for row in rows if row not in features]
    if missing or unknown:
        raise InputError(
            f"the rows of {path} have other names than the features: missing {listed(missing) or 'none'}; "
            f"unknown {listed(unknown) or 'none'}; expected the same names, or rows without names"
        )
    return x[[rows.index(name) for name in features]]


def _generative(path: Path, name: str, value: np.ndarray, sizes: dict[str, int]) -> Array:
    expected = tuple(sizes[size] for size in GENERATIVE[name])
    if value.shape != expected:
        raise InputError(
            f"{path}: `{name}` has shape {value.shape}; expected {expected}, as the loadings are "
            f"({sizes['D']}, {sizes['K']})."
        )
    value = _real(f"{path}: `{name}`", value)
    low, kind = (0.0, "positive and finite") if name in SCALES else (-np.inf, "finite")
    bad = np.argwhere(~(np.isfinite(value) & (value > low)))
    if bad.size:
        found, place = value[tuple(bad[0])], (bad[0] + 1).tolist()
        raise InputError(f"{path}: `{name}` holds {found} at {place}; expected {kind} numbers.")
    return value
