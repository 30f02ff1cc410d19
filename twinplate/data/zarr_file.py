"""Matrices in Zarr stores, directories of chunks: an array, or a group with an array `x`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twinplate.data.anndata_file import beside_anndata, read_anndata
from twinplate.data.blocks import fitting
from twinplate.data.columns import Choose, listed
from twinplate.data.numpy_file import NAMES, of_data, raw_of_arrays
from twinplate.data.stored import Stored
from twinplate.data.table import Beside, Raw, unreadable
from twinplate.data.xarray_file import beside_dataset, read_dataset
from twinplate.errors import InputError
from twinplate.extras import import_extra

PICKLED = "pickle"  # a codec of Zarr's second format, which runs what it decodes


def read_zarr(path: Path, choose: Choose, layer: str = "") -> Raw:
    """The array, or of a group the array `x` or the only one; beside it `columns` and `items` hold names.

    layer: the array instead of `x`. Of an AnnData it is a layer, of a dataset of xarray a variable; both are
    read by their own libraries.
    """
    arrays, kind, alone = _opened(path)
    if kind == "anndata":
        anndata = import_extra("anndata", "anndata", "anndata")
        return read_anndata(path, choose, layer, anndata.read_zarr, "Zarr")
    if kind == "dataset":
        return read_dataset(path, choose, layer)
    arrays = {name: array for name, array in arrays.items() if "/" not in name}
    if layer:
        if alone or layer not in arrays:
            has = "is one array and" if alone else f"has {listed(list(arrays)) or 'no array'} and"
            raise InputError(f"{path} {has} no layer {layer!r}; leave --layer out, or name another")
        arrays = {"x": arrays[layer], **{name: arrays[name] for name in NAMES if name in arrays}}
    chosen = {name: arrays[name] for name in of_data(list(arrays))}
    read = {
        name: _names(path, array) if name in NAMES and len(chosen) > 1 else _matrix(path, array)
        for name, array in chosen.items()
    }
    return raw_of_arrays(path, read, choose)


def beside_zarr(path: Path, layer: str = "") -> Beside | None:
    """What stands beside the matrix of an AnnData or a dataset of xarray; None of any other store."""
    _, kind, _ = _opened(path)
    if kind == "anndata":
        anndata = import_extra("anndata", "anndata", "anndata")
        return beside_anndata(path, anndata.read_zarr, "Zarr")
    return beside_dataset(path, layer) if kind == "dataset" else None


def _opened(path: Path) -> tuple[dict[str, Any], str, bool]:
    """The arrays of a store by name, whether it is an "anndata" or a "dataset", and whether it is one array.

    Raises InputError for what cannot be read, and for arrays of Python objects.
    """
    zarr = import_extra("zarr", "zarr")
    try:
        found = zarr.open(path, mode="r")
        alone = isinstance(found, zarr.Array)
        members = {"x": found} if alone else dict(found.members(max_depth=None))
        arrays = {name: array for name, array in members.items() if isinstance(array, zarr.Array)}
        is_anndata = found.attrs.get("encoding-type") == "anndata"
        is_dataset = not alone and any(map(_dims, arrays.values()))
    # Damaged bytes and foreign directories make zarr raise a dozen different types.
    except Exception as error:
        raise unreadable(path, "Zarr") from error
    for name, array in arrays.items():
        if PICKLED in str(array.metadata.to_dict()).lower():
            raise InputError(f"{path} holds Python objects in `{name}`; expected real numbers.")
    return arrays, "anndata" if is_anndata else "dataset" if is_dataset else "", alone


def _dims(array: Any) -> Any:
    """What xarray calls the dims of an array that it has written."""
    return array.attrs.get("_ARRAY_DIMENSIONS") or getattr(array.metadata, "dimension_names", None)


def _names(path: Path, array: Any) -> np.ndarray:
    try:
        return np.asarray(array[:])
    except Exception as error:
        raise unreadable(path, "Zarr") from error


def _matrix(path: Path, array: Any) -> Any:
    """Of numbers in two dimensions; anything else as it is, to be refused by whoever knows why."""
    is_matrix = array.ndim == 2 and array.dtype.kind in "biuf" and 0 not in array.shape
    return StoredZarr(path, array, tuple(range(array.shape[1]))) if is_matrix else array


class StoredZarr(Stored):
    """Columns of a Zarr array, at these places: float32 where the array holds no more, else float64."""

    def __init__(self, path: Path, array: Any, columns: tuple[int, ...]) -> None:
        num_items, width = array.shape
        few = fitting(array.chunks[0] * 8 * width, num_items)  # chunks that are decoded together
        edges = np.append(np.arange(0, num_items, few * array.chunks[0]), num_items)
        narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
        super().__init__((num_items, len(columns)), "f4" if narrow else "f8", edges)
        self._path, self._array, self._columns = path, array, columns

    def with_columns(self, places: Sequence[int]) -> StoredZarr:
        return StoredZarr(self._path, self._array, tuple(self._columns[j] for j in places))

    def pieces(self, start: int, stop: int) -> Iterator[np.ndarray]:
        first, last = min(self._columns), max(self._columns) + 1
        chosen = [j - first for j in self._columns]
        for part in np.flatnonzero((self.edges[1:] > start) & (self.edges[:-1] < stop)):
            rows = slice(max(start, int(self.edges[part])), min(stop, int(self.edges[part + 1])))
            try:
                decoded = np.asarray(self._array[rows, first:last])
            except Exception as error:
                raise unreadable(self._path, "Zarr") from error
            with np.errstate(
                over="ignore"
            ):  # a wider float may become an infinity: that is looked for
                yield np.asarray(decoded[:, chosen], self.dtype)
