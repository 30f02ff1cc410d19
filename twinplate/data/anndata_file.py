"""AnnData in H5AD files and in Zarr stores: `X` or a layer, dense or sparse, with its names."""

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

ITEMS = "obs_names"


def read_h5ad(path: Path, choose: Choose, layer: str = "") -> Raw:
    """The chosen variables of `X`, or of a layer; observations are the items. Raises InputError."""
    anndata = import_extra("anndata", "anndata", "anndata")
    return read_anndata(path, choose, layer, anndata.read_h5ad, "H5AD")


def read_anndata(
    path: Path, choose: Choose, layer: str, read: Callable[[Path], Any], kind: str
) -> Raw:
    """The same by what AnnData has to read a file of this kind."""
    try:
        loaded = read(path)
    # Damaged bytes and foreign files make h5py, zarr and anndata raise a dozen different types.
    except Exception as error:
        raise unreadable(path, kind) from error
    if layer and layer not in loaded.layers:
        found = listed(sorted(loaded.layers)) or "none"
        raise InputError(f"{path} has no layer {layer!r}; it has {found}")
    if not layer and loaded.X is None:
        found = listed(sorted(loaded.layers)) or "none"
        raise InputError(f"{path} has no X; expected --layer with one of its layers: {found}")
    if layer:
        anndata = import_extra("anndata", "anndata", "anndata")
        loaded = anndata.AnnData(loaded.layers[layer], loaded.obs, loaded.var)
    try:
        frame = to_frame(loaded)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    assert frame is not None
    return raw_of(path, frame.x, frame.columns, frame.items, ITEMS, choose)


def beside_h5ad(path: Path, layer: str = "") -> Beside:
    """The columns of `obs`, which are of the same items in every layer. Raises InputError."""
    anndata = import_extra("anndata", "anndata", "anndata")
    return beside_anndata(path, partial(anndata.read_h5ad, backed="r"), "H5AD")


def beside_anndata(path: Path, read: Callable[[Path], Any], kind: str) -> Beside:
    """The same by what AnnData has to read a file of this kind."""
    try:
        loaded = read(path)
        obs = {str(name): np.asarray(loaded.obs[name]) for name in loaded.obs.columns}
        items, columns = (tuple(map(str, names)) for names in (loaded.obs_names, loaded.var_names))
        if loaded.isbacked:
            loaded.file.close()
    except Exception as error:
        raise unreadable(path, kind) from error
    return Beside(obs, "a column of obs", items, columns)


@contextmanager
def anndata_file(path: Path, shape: tuple[int, ...], names: Names) -> Iterator[Write]:
    """Yield what takes the next rows of a matrix; the file is written at the end."""
    anndata = import_extra("anndata", "anndata", "anndata")
    pandas = import_extra("pandas", "pandas", "anndata")
    parts: list[Array] = []
    yield parts.append
    whole = anndata.AnnData(np.concatenate([np.empty((0, shape[1])), *parts]))
    for texts, axis in ((names.items, "obs_names"), (names.columns, "var_names")):
        if texts:  # objects, as not every AnnData writes the strings that pandas 3 makes of texts
            setattr(whole, axis, pandas.Index(texts, dtype=object))
    whole.write_h5ad(path)
