"""Matrices written to data files, block by block, in the formats that `twinplate.data.readers` reads."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np

from twinplate.data.anndata_file import anndata_file
from twinplate.data.blocks import Array
from twinplate.data.columns import default_name
from twinplate.data.table import Names, Write
from twinplate.data.xarray_file import xarray_file
from twinplate.errors import InputError
from twinplate.extras import import_extra
from twinplate.files import require_new, written_whole

SUFFIXES = (".csv", ".tsv", ".npy", ".npz", ".parquet", ".h5ad", ".nc", ".zarr")


def check_table_file(path: Path) -> None:
    """Raise InputError unless `path` is new and has a suffix of a data file."""
    require_new(path)
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} has none of the suffixes twinplate writes: {', '.join(SUFFIXES)}")


@contextmanager
def table_file(path: Path, shape: tuple[int, ...], names: Names) -> Iterator[Write]:
    """Yield what writes the next rows of a matrix of `shape` (N, D) to `path`: whole, or not at all.

    The suffix of `path` decides the format. CSV, TSV and Parquet begin with the items' names; NPZ
    has `x`, and `columns` and `items` where they are named; NPY has the matrix alone. H5AD, NetCDF and
    Zarr, whose variable is `x`, are written at the end. In text a missing entry is an empty cell.

    Raises InputError for another suffix, where `path` exists, or cannot be written.
    """
    check_table_file(path)
    formats: dict[str, Callable[[Path, tuple[int, ...], Names], AbstractContextManager[Write]]] = {
        ".npy": _npy,
        ".npz": _npz,
        ".parquet": _parquet,
        ".h5ad": anndata_file,
        ".nc": partial(xarray_file, as_zarr=False),
        ".zarr": partial(xarray_file, as_zarr=True),
    }
    with written_whole(path) as temporary:
        suffix = path.suffix.lower()
        if suffix in formats:
            with formats[suffix](temporary, shape, names) as write:
                yield write
        else:
            with _text(temporary, "\t" if suffix == ".tsv" else ",", names) as write:
                yield write


@contextmanager
def _text(path: Path, separator: str, names: Names) -> Iterator[Write]:
    labels = _labels(names)
    items = zip(*(texts for _, texts in labels), strict=True)
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        if names.columns:
            first = [_own(name, j) for j, (name, _) in enumerate(labels)]
            writer.writerow(first + [_own(name, j) for j, name in enumerate(names.columns)])

        def write(rows: Array) -> None:
            for row in rows.tolist():
                first = next(items) if labels else ()
                writer.writerow([*first, *map(_cell, row)])

        yield write


def _labels(names: Names) -> list[tuple[str, tuple[str, ...]]]:
    """What the columns of the items' names are called and hold; the last one is `names.items`."""
    return [*names.others, (names.item_column, names.items)] if names.items else []


def _own(name: str, place: int = 0) -> str:
    """The name that the column has; nothing where it is the one that the readers make up."""
    return "" if name == default_name(place) else name


def _cell(value: float) -> str:
    """The shortest text that is read as this number again; whole numbers without a point."""
    return "" if value != value else repr(value).removesuffix(".0")


@contextmanager
def _npy(path: Path, shape: tuple[int, ...], names: Names) -> Iterator[Write]:
    with path.open("xb") as file:
        write_header(file, *shape)
        yield lambda rows: _write_rows(file, rows)


@contextmanager
def _npz(path: Path, shape: tuple[int, ...], names: Names) -> Iterator[Write]:
    with ZipFile(path, "x") as archive:
        with archive.open("x.npy", "w", force_zip64=True) as member:
            write_header(member, *shape)
            yield lambda rows: _write_rows(member, rows)
        for name, values in (("columns", names.columns), ("items", names.items)):
            if values:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.array(values), allow_pickle=False)


def write_header(file: IO[bytes], *shape: int) -> None:
    """The header of an NPY file of float64 in C order, whose numbers are to follow."""
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _write_rows(file: IO[bytes], rows: Array) -> None:
    file.write(np.ascontiguousarray(rows, dtype="<f8").tobytes())


@contextmanager
def _parquet(path: Path, shape: tuple[int, ...], names: Names) -> Iterator[Write]:
    pa = import_extra("pyarrow", "pyarrow")
    pq = import_extra("pyarrow.parquet", "pyarrow")
    columns = names.columns or tuple(map(default_name, range(shape[1])))
    fields = [(name, pa.float64()) for name in columns]
    done = 0
    labels = [(name or "item", _label(pa, texts)) for name, texts in _labels(names)]
    fields = [*((name, texts.type) for name, texts in labels), *fields]

    with pq.ParquetWriter(path, pa.schema(fields)) as writer:

        def write(rows: Array) -> None:
            nonlocal done
            arrays: list[Any] = [pa.array(column, from_pandas=True) for column in rows.T]
            arrays = [*(texts.slice(done, len(rows)) for _, texts in labels), *arrays]
            done += len(rows)
            writer.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)))

        yield write


def _label(pa: Any, texts: Sequence[str]) -> Any:
    """Names of items as a column: of whole numbers where these read as the texts do, else of texts."""
    numbers = all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts)
    return pa.array([int(text) for text in texts] if numbers else list(texts))
