"""AnnData in H5AD files: `X`, dense or sparse, with the names of observations and variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from twinplate.data.blocks import Array
from twinplate.data.columns import Choose
from twinplate.data.frames import to_frame
from twinplate.data.table import Names, Raw, Write, unreadable
from twinplate.errors import InputError
from twinplate.extras import import_extra

ITEMS = "obs_names"


def read_anndata(path: Path, choose: Choose) -> Raw:
    """The chosen variables; observations are the items. Raises InputError."""
    anndata = import_extra("anndata", "anndata", "anndata")
    try:
        loaded = anndata.read_h5ad(path)
    # Damaged bytes and foreign HDF5 files make h5py and anndata raise a dozen different types.
    except Exception as error:
        raise unreadable(path, "H5AD") from error
    try:
        frame = to_frame(loaded)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    assert frame is not None
    if 0 in frame.x.shape:
        raise InputError(f"{path} holds no data: its shape is {frame.x.shape}.")
    choice = choose(path, frame.columns, True)
    places = tuple(sorted(choice.features))
    labels = {len(frame.columns): list(frame.items)}
    return Raw(frame.x[:, places], places, (*frame.columns, ITEMS), True, choice, labels)


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
