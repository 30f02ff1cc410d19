"""Numbers of the items that stand beside a matrix: in `obs` of an AnnData, along the items of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twinplate.data.anndata_file import beside_h5ad
from twinplate.data.columns import listed, rows_of
from twinplate.data.xarray_file import beside_netcdf
from twinplate.data.zarr_file import beside_zarr
from twinplate.errors import InputError

READERS = {".h5ad": beside_h5ad, ".nc": beside_netcdf, ".zarr": beside_zarr}


def load_beside(
    path: Path, name: str, *, layer: str = "", items: Sequence[str] = ()
) -> np.ndarray | None:
    """What is called so, a value an item (N,); None where it is, or may be, a column of the matrix.

    layer: the matrix beside which it stands.  items: as of `twinplate.data.readers.load_matrix`.
    Raises InputError where the file has nothing of this name, and where it cannot be read.
    """
    read = READERS.get(path.suffix.lower())
    found = read(path, layer) if read and path.exists() else None
    if found is None:
        return None
    if name in found.values:
        values = np.asarray(found.values[name])
        return values[rows_of(path, items, found.items)] if items else values
    if name in found.columns:
        return None
    raise InputError(
        f"{path} has no {name!r}, neither {found.what} ({listed(list(found.values)) or 'none'}) nor as a "
        f"column of the matrix ({listed(found.columns) or 'without names'})"
    )
