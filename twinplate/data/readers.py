"""Data files: matrices and generative parameters.

A data matrix has one row per item and one column per feature; a missing entry is NaN. Rows, columns
and lines are counted from 1 in every message.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from twinplate.data.anndata_file import read_h5ad
from twinplate.data.blocks import Array, Rows, blocks, fitting, gather, on_disk
from twinplate.data.columns import ALL, Choice, Choose, Wanted, listed, number, rows_of
from twinplate.data.csv_file import read_csv
from twinplate.data.numpy_file import numpy_arrays, read_npy, read_npz
from twinplate.data.parquet_file import read_parquet
from twinplate.data.statistics import read_statistics
from twinplate.data.stored import Matrix, Stored
from twinplate.data.table import Fingerprint, Raw, Table
from twinplate.data.xarray_file import read_netcdf
from twinplate.data.zarr_file import read_zarr
from twinplate.errors import InputError
from twinplate.words import counted

GENERATIVE = {"loadings": "DK", "intercept": "D", "noise_scale": "D", "loc": "K", "scale": "K"}
Reader = Callable[[Path, Choose], Raw]
Layered = Callable[[Path, Choose, str], Raw]  # given a layer, too
SCALES = ("noise_scale", "scale")
MAPPED_BYTES = 2**26  # of float64; larger data stay on disk, where their format can be read by rows


def load_matrix(
    path: Path,
    progress: Rows | None = None,
    choose: Choose | None = None,
    *,
    fingerprinted: bool = False,
    layer: str = "",
    items: Sequence[str] = (),
) -> Table:
    """Read a data matrix from a file or store; of NPZ and Zarr the array `x`, or the only one.

    Of more than 64 MiB as float64, an NPY file that is stored row by row is mapped rather than read, and
    Parquet and Zarr are decoded part by part: they may be larger than the memory, an NPY file if its
    features are neighbours. `progress` is told the rows looked through and the rows in all. The fingerprint
    of the table is taken in the same pass, where it is asked for.

    choose: which columns are features; by default all but those that name the items
        (`twinplate.data.columns.Wanted`).
    layer: of an AnnData, or the variable of NetCDF or Zarr; by default `X`, `x`, or the only one.
    items: those that are read, by their names, in this order; by default all.

    A CSV is UTF-8, separated by commas, tabs or semicolons, or by what its first line says as Excel does
    (`sep=;`); a cell that is empty, `nan`, `NA`, `N/A`, `#N/A`, `<NA>`, `null` or `None` is missing. The
    first line is a header when it has text and no number, or numbers that count the columns (0, 1, 2, ...,
    or years), also behind names of others, and below it stand numbers that do not; one cell fewer than
    below is R's way to name the items. Columns without a name are called "column 1", ...

    Raises:
        InputError: `path` holds no real, finite, non-empty matrix; names the file and the place.
    """
    path = Path(path)
    raw = _chosen(path, _reader(path, layer)(path, choose or ALL.choose), items)
    x = _real(str(path), raw.x)
    features = [j for j in raw.choice.features if j not in raw.labels]
    is_first = raw.choice.counting and len(features) > 1 and features[0] == 0
    first = _counts_from(x) if is_first else None
    counting = first is not None
    features = features[1:] if counting else features
    if not features:
        raise InputError(f"{path} holds no data: all its columns are left out.")
    x = _taken(x, [raw.places.index(j) for j in features])
    digest = Fingerprint(x.shape) if fingerprinted else None
    found = read_statistics(x, progress, digest.add if digest else None)
    names = raw.names
    ids = (*raw.labels, *([0] if counting else []))
    best = next(reversed(raw.labels), -1)
    called = raw.labels.get(best, [])
    if first is not None and not called and not on_disk(x):
        called = [str(first + i) for i in range(len(x))]
    table = Table(
        x,
        tuple(names[j] for j in features),
        found,
        digest.hex() if digest else "",
        raw.named,
        tuple(features),
        tuple(names[j] for j in ids),
        tuple(called),
        tuple(name for j, name in enumerate(names) if j not in (*features, *ids)),
        others=tuple((names[j], tuple(raw.labels[j])) for j in sorted(raw.labels) if j != best),
    )
    if found.infinite.count:
        row, column = found.infinite.first
        raise InputError(
            f"{path} holds {counted(found.infinite.count, 'infinite entry', 'infinite entries')}, the "
            f"first in row {row + 1}, {table.name_of(column)}: replace them by finite numbers or mark "
            "them as missing."
        )
    return table


def load_items(path: Path, choose: Choose, *, layer: str = "", items: Sequence[str] = ()) -> Matrix:
    """The chosen features of a matrix that `load_matrix` has looked at elsewhere.

    No row is read of what stays on disk, and no names of items, unless items are chosen by them.
    """

    def features_of(path: Path, names: Sequence[str], named: bool) -> Choice:
        return replace(choose(path, names, named), with_items=bool(items))

    raw = _chosen(path, _reader(path, layer)(path, features_of), items)
    features = [j for j in raw.choice.features if j not in raw.labels]
    return _taken(_real(str(path), raw.x), [raw.places.index(j) for j in features])


def _chosen(path: Path, raw: Raw, items: Sequence[str]) -> Raw:
    """The items that are wanted, by their names; all where none is named."""
    if not items:
        return raw
    rows = rows_of(path, items, raw.labels[next(reversed(raw.labels))] if raw.labels else ())
    labels = {j: [texts[n] for n in rows] for j, texts in raw.labels.items()}
    x = gather(_real(str(path), raw.x), np.array(rows, np.int64))
    return replace(raw, x=x, labels=labels)


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


def _counts_from(x: Matrix) -> int | None:
    """Where the first column of `x` begins to count, if it is 0, 1, 2, ... or 1, 2, 3, ...: three or more."""
    column = _taken(x, [0])
    if column[:3][:, 0].tolist() not in ([0, 1, 2], [1, 2, 3]):
        return None
    first, length = int(column[:1][0, 0]), fitting(8 * x.shape[1], len(x))
    counts = (
        np.array_equal(block[:, 0], first + np.arange(start, start + len(block)))
        for start, block in blocks(column, length=length)
    )
    return first if all(counts) else None


def _taken(x: Matrix, columns: Sequence[int]) -> Matrix:
    """These columns of `x`; of a mapped file, in memory unless they are neighbours."""
    if isinstance(x, Stored):
        return x.with_columns(columns)
    first, last = columns[0], columns[-1] + 1
    if list(columns) == list(range(first, last)):
        part = x[:, first:last]
        return part if on_disk(x) else np.ascontiguousarray(part)
    taken = np.empty((len(x), len(columns)))
    for start, block in blocks(x):
        taken[start : start + len(block)] = block[:, columns]
    return taken


def _real(what: str, value: Matrix) -> Matrix:
    if value.dtype.kind not in "biuf":
        raise InputError(f"{what} holds {value.dtype} values; expected real numbers.")
    if on_disk(value) and 8 * math.prod(value.shape) > MAPPED_BYTES:
        return value
    with np.errstate(over="ignore"):  # a wider float may become an infinity: refused by the caller
        held = np.array(value, np.float64) if on_disk(value) else np.asarray(value, np.float64)
    return np.ascontiguousarray(held)


def _of_layer(read: Layered, layer: str) -> Reader:
    return lambda path, choose: read(path, choose, layer)


def _reader(path: Path, layer: str = "") -> Reader:
    """The function that reads files with this suffix; `path` may be read. Raises InputError."""
    layered: dict[str, Layered] = {
        ".h5ad": read_h5ad,
        ".nc": read_netcdf,
        ".zarr": read_zarr,
    }
    readers: dict[str, Reader] = {
        ".csv": read_csv,
        ".tsv": read_csv,
        ".npy": read_npy,
        ".npz": read_npz,
        ".parquet": read_parquet,
        **{known: _of_layer(read, layer) for known, read in layered.items()},
    }
    suffix = path.suffix.lower()
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")
    if not path.is_file() and suffix != ".zarr":
        raise InputError(f"{path} is a directory, not a file ({', '.join(readers)}).")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read: no permission.")
    if suffix not in readers:
        raise InputError(f"{path} has none of the suffixes twinplate reads: {', '.join(readers)}.")
    if layer and suffix not in layered:
        raise InputError(
            f"{path} has no layer {layer!r}, as its kind of file has none; expected one of "
            f"{', '.join(layered)}, or no --layer"
        )
    return readers[suffix]


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
    arrays = numpy_arrays(path, list) if npz else {"loadings": _loadings(path, features)}
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
    value = np.asarray(_real(f"{path}: `{name}`", value))
    low, kind = (0.0, "positive and finite") if name in SCALES else (-np.inf, "finite")
    bad = np.argwhere(~(np.isfinite(value) & (value > low)))
    if bad.size:
        found, place = value[tuple(bad[0])], (bad[0] + 1).tolist()
        raise InputError(f"{path}: `{name}` holds {found} at {place}; expected {kind} numbers.")
    return value
