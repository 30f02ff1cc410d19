"""Data on disk: matrices in, posteriors out.

A data matrix has one row per item and one column per feature; a missing entry is NaN. Rows, columns
and lines are counted from 1 in every message.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from twinplate.checkpoint import written_whole
from twinplate.errors import InputError

Array = npt.NDArray[np.float64]
Raw = tuple[np.ndarray, tuple[str, ...]]  # what a file holds, unchecked, and names if it has any
Missing = Literal["error", "mask"]

MISSING_CELLS = ("", "nan", "na", "null")
GENERATIVE = {"loadings": "DK", "intercept": "D", "noise_scale": "D", "loc": "K", "scale": "K"}
POSITIVE = ("noise_scale", "scale")


@dataclass(frozen=True, eq=False)
class Table:
    """A data matrix `x` (N, D), NaN where an entry is missing, and the names of its D columns."""

    x: Array
    columns: tuple[str, ...]


def load_matrix(path: Path) -> Table:
    """Read a data matrix from CSV, NPY, NPZ (the array `x`, or the only one) or Parquet.

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
    infinite = np.argwhere(np.isinf(x))
    if infinite.size:
        row, column = infinite[0]
        raise InputError(
            f"{path} holds {len(infinite)} infinite entries, the first in row {row + 1}, "
            f"{_column(columns, column)}: replace them by finite numbers or mark them as missing."
        )
    return Table(x, columns)


def _real(what: str, value: np.ndarray) -> Array:
    if value.dtype.kind not in "biuf":
        raise InputError(f"{what} holds {value.dtype} values; expected real numbers.")
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
                f"{path}, line {line}: {_column(columns, j)} holds {cell.strip()[:40]!r}, which is "
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
    arrays = _numpy_arrays(path, lambda names: ["x"] if "x" in names else names)
    if len(arrays) != 1:
        found = ", ".join(arrays)
        raise InputError(f"{path} holds several arrays or none ({found}); name the data `x`.")
    return next(iter(arrays.values())), ()


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
        import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
        import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]
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
            name = _column(table.column_names, j)
            raise InputError(f"{path}: {name} has type {column.type}, no numbers; drop the column.")
        x[:, j] = column.cast(pa.float64(), safe=False).to_numpy()
    return x, tuple(table.column_names)


def _unreadable(path: Path, kind: str) -> InputError:
    return InputError(f"{path} cannot be read: it is truncated, damaged or no {kind} file.")


def check_matrix(x: Array, columns: Sequence[str], *, missing: Missing, learn_noise: bool) -> None:
    """Raise InputError where a model cannot be fitted to `x` (N, D) with these D `columns`.

    That is: missing entries with `missing="error"`, a column or an item without any entry, and,
    where the noise is learned, a constant column, whose noise would shrink to nothing.
    """
    absent = np.isnan(x)
    if missing == "error" and absent.any():
        row, column = np.argwhere(absent)[0]
        raise InputError(
            f"{absent.sum()} entries are missing, the first in row {row + 1}, "
            f"{_column(columns, column)}: pass `--missing mask` to leave them out of the model."
        )
    empty = absent.all(axis=0)
    if empty.any():
        raise InputError(f"Columns without any entry: {_listed(columns, empty)}. Drop them.")
    rows = np.flatnonzero(absent.all(axis=1))
    if rows.size:
        raise InputError(
            f"{rows.size} items have no observed entry, the first in row {rows[0] + 1}: drop them."
        )
    constant = np.nanmin(x, axis=0) == np.nanmax(x, axis=0)
    if learn_noise and constant.any():
        raise InputError(
            f"Constant, so that no noise can be learned: {_listed(columns, constant)}. Drop such "
            "columns, or give `--loadings` an NPZ file with `noise_scale`."
        )


def fingerprint(x: Array) -> str:
    """SHA-256, in hex, of the shape and the values of `x`; all NaNs count as the same value."""
    x = np.asarray(x, dtype=np.float64)
    values = np.where(np.isnan(x), np.nan, x).astype("<f8")
    return hashlib.sha256(f"float64 {x.shape} ".encode() + values.tobytes()).hexdigest()


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
    arrays = _numpy_arrays(path, list) if npz else {"loadings": load_matrix(path).x}
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
    low, kind = (0.0, "positive and finite") if name in POSITIVE else (-np.inf, "finite")
    bad = np.argwhere(~(np.isfinite(value) & (value > low)))
    if bad.size:
        number, place = value[tuple(bad[0])], (bad[0] + 1).tolist()
        raise InputError(f"{path}: `{name}` holds {number} at {place}; expected {kind} numbers.")
    return value


def save_posterior(path: Path, loc: np.ndarray, scale_tril: np.ndarray) -> None:
    """Write `loc` (N, K) and `scale_tril` (N, K, K) to the NPZ file `path`, or raise InputError."""
    with written_whole(path) as temporary, temporary.open("xb") as file:
        np.savez(file, loc=loc, scale_tril=scale_tril)


def _column(columns: Sequence[str], j: int) -> str:
    """How a message names column `j`."""
    default = f"column {j + 1}"
    return default if columns[j] == default else f"{default} ({columns[j]!r})"


def _listed(columns: Sequence[str], chosen: npt.ArrayLike) -> str:
    """The names of the chosen columns, at most five of them."""
    places = np.flatnonzero(chosen)
    names = ", ".join(_column(columns, int(j)) for j in places[:5])
    return names + (f" and {len(places) - 5} more" if len(places) > 5 else "")
