"""Datasets of xarray, in NetCDF files and Zarr stores: matrices with names of both axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from twinplate.data.blocks import Array
from twinplate.data.columns import Choose, listed
from twinplate.data.frames import to_frame
from twinplate.data.table import Beside, Names, Raw, Write, raw_of, unreadable
from twinplate.errors import InputError
from twinplate.extras import import_extra

EXTRA = "xarray"
VARIABLE = "x"  # read where a file has several, and written


def read_netcdf(path: Path, choose: Choose, layer: str = "") -> Raw:
    """The chosen features of a variable, whose dims are items and features. Raises InputError."""
    xarray = import_extra("xarray", "xarray", EXTRA)
    return _read(path, choose, layer, "NetCDF", xarray.load_dataset)


def beside_netcdf(path: Path, layer: str = "") -> Beside:
    """The variables along the items of the one that would be read. Raises InputError."""
    xarray = import_extra("xarray", "xarray", EXTRA)
    return _beside(path, layer, "NetCDF", xarray.load_dataset)


def beside_dataset(path: Path, layer: str = "") -> Beside:
    """The same of a dataset in a Zarr store."""
    return _beside(path, layer, "Zarr", _zarr_dataset())


def read_dataset(path: Path, choose: Choose, layer: str = "") -> Raw:
    """The same of a dataset in a Zarr store."""
    return _read(path, choose, layer, "Zarr", _zarr_dataset())


def _zarr_dataset() -> Callable[[Path], Any]:
    xarray = import_extra("xarray", "xarray", EXTRA)
    return partial(xarray.open_zarr, chunks=None, consolidated=False)  # which need not be there


def _read(path: Path, choose: Choose, layer: str, kind: str, opened: Callable[[Path], Any]) -> Raw:
    data, _ = _variable(path, layer, kind, opened)
    try:
        frame = to_frame(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    assert frame is not None
    return raw_of(path, frame.x, frame.columns, frame.items, str(data.dims[0]), choose)


def _beside(path: Path, layer: str, kind: str, opened: Callable[[Path], Any]) -> Beside:
    data, found = _variable(path, layer, kind, opened)
    names = [
        tuple(map(str, found[dim].values)) if dim in found.variables else () for dim in data.dims
    ]
    along = {
        str(name): found[name].values
        for name in found.variables
        if found[name].dims == data.dims[:1] and name not in data.dims
    }
    return Beside(along, f"a variable along {data.dims[0]!r}", names[0], names[-1])


def _variable(path: Path, layer: str, kind: str, opened: Callable[[Path], Any]) -> tuple[Any, Any]:
    """The variable that is read, and the dataset that it is in."""
    try:
        found = opened(path)
        variables = {str(name): found[name] for name in sorted(found, key=str)}
        tables = [name for name, variable in variables.items() if variable.ndim == 2]
    # Damaged bytes and foreign files make h5netcdf, zarr and xarray raise a dozen different types.
    except Exception as error:
        raise unreadable(path, kind) from error
    if layer and layer not in variables:
        raise InputError(
            f"{path} has no variable {layer!r}; it has {listed(list(variables)) or 'none'}"
        )
    several = len(tables) != 1 and VARIABLE not in tables
    if not layer and several:
        raise InputError(
            f"{path} has {listed(tables) or 'no variable'} with two dims; expected one of them, called "
            f"{VARIABLE!r}, or its name by --layer"
        )
    return variables[layer or (tables[0] if len(tables) == 1 else VARIABLE)], found


@contextmanager
def xarray_file(
    path: Path, shape: tuple[int, ...], names: Names, *, as_zarr: bool
) -> Iterator[Write]:
    """Yield what takes the next rows of a matrix; VARIABLE is written at the end, as Zarr or NetCDF."""
    xarray = import_extra("xarray", "xarray", EXTRA)
    parts: list[Array] = []
    yield parts.append
    whole = np.concatenate([np.empty((0, shape[1])), *parts])
    items = names.item_column if names.item_column not in ("", "feature", VARIABLE) else "item"
    texts = {items: names.items, "feature": names.columns}
    coords = {dim: np.array(values, dtype=object) for dim, values in texts.items() if values}
    data = xarray.Dataset({VARIABLE: ((items, "feature"), whole)}, coords)
    if as_zarr:
        data.to_zarr(
            path, mode="w-", zarr_format=2
        )  # whose texts and summary of metadata are specified
    else:
        data.to_netcdf(path, engine="h5netcdf")
