"""Data files: matrices and generative parameters.

A data matrix has one row per item and one column per feature; a missing entry is NaN. Rows, columns
and lines are counted from 1 in every message.
"""

from __future__ import annotations

import csv
import math
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from twinplate.data.blocks import Array, Rows, on_disk
from twinplate.data.statistics import read_statistics
from twinplate.data.table import Fingerprint, Table, column_name
from twinplate.errors import InputError

Raw = tuple[np.ndarray, tuple[str, ...]]  # what a file holds, unchecked, and names if it has any

MISSING_CELLS = ("", "nan", "na", "null")
GENERATIVE = {"loadings": "DK", "intercept": "D", "noise_scale": "D", "loc": "K", "scale": "K"}
SCALES = ("noise_scale", "scale")
MAPPED_BYTES = 2**26  # an NPY file larger than this stays on disk


def load_matrix(path: Path, progress: Rows | None = None, *, fingerprinted: bool = False) -> Table:
    """Read a data matrix from CSV, NPY, NPZ (the array `x`, or the only one) or Parquet.

    An NPY file of more than 64 MiB that is stored row by row is mapped rather than read: it may be
    larger than the memory. `progress` is told the rows looked through and the rows in all. The
    fingerprint of the table is taken in the same pass, where it is asked for.

    A CSV is UTF-8, separated by commas, tabs or semicolons; a cell that is empty, `nan`, `NA` or
    `null` is missing. The first line is a header when it has text and no number: the names 0, 1, 2
    would be read as data. Columns without a name are called "column 1", "column 2", ...

    Raises:
        InputError: `path` holds no real, finite, non-empty matrix; names the file and the place.
    """
    path = Path(path)
    x, columns = _reader(path)(path)
    if x.ndim != 2:
        raise InputError(f"{path} has shape {x.shape}; expected two dimensions (items, features).")
    if 0 in x.shape:
        raise InputError(f"{path} holds no data: its shape is {x.shape}.")
    columns = columns or tuple(f"column {j + 1}" for j in range(x.shape[1]))
    x = _real(str(path), x)
    digest = Fingerprint(x.shape) if fingerprinted else None
    found = read_statistics(x, progress, digest.add if digest else None)
    if found.infinite.count:
        row, column = found.infinite.first
        raise InputError(
            f"{path} holds {found.infinite.count} infinite entries, the first in row {row + 1}, "
            f"{column_name(columns, column)}: replace them by finite numbers or mark them as missing."
        )
    return Table(x, columns, found, digest.hex() if digest else "")


def _real(what: str, value: np.ndarray) -> np.ndarray:
    if value.dtype.kind not in "biuf":
        raise InputError(f"{what} holds {value.dtype} values; expected real numbers.")
    if on_disk(value):
        return value
    with np.errstate(over="ignore"):  # a wider float may become an infinity: refused by the caller
        return np.ascontiguousarray(value, dtype=np.float64)


def _reader(path: Path) -> Callable[[Path], Raw]:
    """The function that reads files with this suffix; `path` is a file that may be read."""
    readers = {".csv": _csv, ".npy": _numpy, ".npz": _numpy, ".parquet": _parquet}
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")
    if not path.is_file():
        raise InputError(f"{path} is a directory, not a file ({', '.join(readers)}).")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read: no permission.")
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} has none of the suffixes twinplate reads: {', '.join(readers)}.")
    return readers[path.suffix.lower()]


def _csv(path: Path) -> Raw:
    columns: tuple[str, ...] = ()
    values = array("d")
    width = blank = 0
    for line, cells in _csv_lines(path):
        if not cells or (len(cells) == 1 and cells[0].isspace()):
            blank = blank or line
            continue
        if not width:
            width, blank = len(cells), 0
            columns = tuple(f"column {j + 1}" for j in range(width))
            if _is_header(cells):
                columns = tuple(cells[j].strip() or columns[j] for j in range(width))
                continue
        if blank or len(cells) != width:
            place, found = (blank, 0) if blank else (line, len(cells))
            raise InputError(f"{path}, line {place}: found {found} cells, expected {width}.")
        values.extend(_row(path, line, cells, columns))
    if not values:
        raise InputError(f"{path} is empty: it has no data rows.")
    return np.frombuffer(values).reshape(-1, width), columns


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every line's number and cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            mark = next((m for m in "\t;" if m in first and "," not in first), ",")
            reader = csv.reader(file, delimiter=mark, strict=True)
            for cells in reader:
                yield reader.line_num, cells
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: save it again as CSV in UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error


def _is_header(cells: Sequence[str]) -> bool:
    texts = [cell for cell in cells if cell.strip().lower() not in MISSING_CELLS]
    return bool(texts) and all(_number(cell) is None for cell in texts)


def _row(path: Path, line: int, cells: Sequence[str], columns: Sequence[str]) -> Iterator[float]:
    for j, cell in enumerate(cells):
        value = _number(cell)
        if value is None:
            raise InputError(
                f"{path}, line {line}: {column_name(columns, j)} holds {cell.strip()[:40]!r}, which is "
                "no number; drop the column, or leave the cell empty if the entry is missing."
            )
        yield value


def _number(cell: str) -> float | None:
    """The cell's value, NaN for a missing entry, None for any other text."""
    try:
        # float() takes 1_000 for a thousand; nobody who reads a table does
        return None if "_" in cell else float(cell)
    except ValueError:
        return math.nan if cell.strip().lower() in MISSING_CELLS else None


def _numpy(path: Path) -> Raw:
    if path.stat().st_size > MAPPED_BYTES and (mapped := _mapped(path)) is not None:
        return mapped, ()
    arrays = _numpy_arrays(path, lambda names: ["x"] if "x" in names else names)
    if len(arrays) != 1:
        found = ", ".join(arrays)
        raise InputError(f"{path} holds several arrays or none ({found}); name the data `x`.")
    return next(iter(arrays.values())), ()


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
        raise _unreadable(path, path.suffix[1:].upper()) from error


def _parquet(path: Path) -> Raw:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow: run `pip install 'twinplate[all]'`.") from error
    try:
        table = pq.ParquetFile(path).read()  # read_table would add a column for a folder `year=7`
        # pandas stores a frame's row labels as one more column; they are no feature
        labels = (table.schema.pandas_metadata or {}).get("index_columns", [])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, "Parquet") from error
    table = table.select([j for j, name in enumerate(table.column_names) if name not in labels])
    numeric = ("is_integer", "is_floating", "is_boolean", "is_decimal", "is_null")
    x = np.empty(table.shape)
    for j, column in enumerate(table.columns):
        if not any(getattr(pa.types, test)(column.type) for test in numeric):
            name = column_name(table.column_names, j)
            raise InputError(f"{path}: {name} has type {column.type}, no numbers; drop the column.")
        x[:, j] = column.cast(pa.float64(), safe=False).to_numpy()
    return x, tuple(table.column_names)


def _unreadable(path: Path, kind: str) -> InputError:
    return InputError(f"{path} cannot be read: it is truncated, damaged or no {kind} file.")


def load_generative(path: Path) -> dict[str, Array]:
    """Read the generative parameters that are given rather than learned.

    CSV, NPY and Parquet hold `loadings` (D, K). NPZ holds `loadings` and, where wanted, `intercept`
    (D,), `noise_scale` (D,), the standard deviation of the noise, and the prior's `loc` (K,) and
    `scale` (K,).

    Raises:
        InputError: as in `load_matrix`; also an unknown name, a shape that does not match the
            loadings, a value that is not finite, a scale that is not positive.
    """
    path = Path(path)
    _reader(path)
    npz = path.suffix.lower() == ".npz"
    arrays = (
        _numpy_arrays(path, list)
        if npz
        else {"loadings": np.array(load_matrix(path).x, dtype=np.float64)}
    )
    unknown = [name for name in arrays if name not in GENERATIVE]
    if unknown or "loadings" not in arrays:
        problem = f"unknown array {unknown[0]!r}" if unknown else "no array `loadings`"
        raise InputError(f"{path}: {problem}; allowed names are {', '.join(GENERATIVE)}.")
    shape = arrays["loadings"].shape
    if len(shape) != 2 or 0 in shape:
        raise InputError(f"{path}: `loadings` has shape {shape}; expected (D, K).")
    sizes = dict(zip("DK", shape, strict=True))
    return {name: _generative(path, name, value, sizes) for name, value in arrays.items()}


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
        number, place = value[tuple(bad[0])], (bad[0] + 1).tolist()
        raise InputError(f"{path}: `{name}` holds {number} at {place}; expected {kind} numbers.")
    return value
