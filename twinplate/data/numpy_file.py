"""Matrices in NumPy's files, NPY and NPZ, and what they have in common with other files of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twinplate.data.columns import Choose, default_name
from twinplate.data.table import Raw, unreadable
from twinplate.errors import InputError
from twinplate.words import counted

NAMES = ("columns", "items")  # arrays of a file beside `x`


def read_npy(path: Path, choose: Choose) -> Raw:
    """The only array of the file, mapped where it is stored row by row."""
    mapped = _mapped(path)
    arrays = numpy_arrays(path, list) if mapped is None else {"x": mapped}
    return raw_of_arrays(path, arrays, choose)


def read_npz(path: Path, choose: Choose) -> Raw:
    """The array `x`, or the only one; beside it `columns` and `items` hold names."""
    return raw_of_arrays(path, numpy_arrays(path, of_data), choose)


def of_data(names: list[str]) -> list[str]:
    """The arrays of a file that are read: `x`, and the names that stand beside it."""
    return [name for name in ("x", *NAMES) if name in names] if "x" in names else names


def raw_of_arrays(path: Path, arrays: Mapping[str, Any], choose: Choose) -> Raw:
    """The matrix among these arrays of a file, with its names. Raises InputError unless there is one."""
    named = {name: arrays[name] for name in NAMES if name in arrays and len(arrays) > 1}
    rest = [name for name in arrays if name not in named]
    if len(rest) != 1:
        raise InputError(
            f"{path} holds several arrays or none ({', '.join(rest)}); name the data `x`."
        )
    x = arrays[rest[0]]
    if x.ndim != 2:
        raise InputError(f"{path} has shape {x.shape}; expected two dimensions (items, features).")
    if 0 in x.shape:
        raise InputError(f"{path} holds no data: its shape is {x.shape}.")
    texts = {name: _names(path, name, value) for name, value in named.items()}
    for name, axis in (("items", 0), ("columns", 1)):
        if name in texts and len(texts[name]) != x.shape[axis]:
            raise InputError(
                f"{path} holds {counted(len(texts[name]), 'name')} in `{name}` and an `x` of shape "
                f"{x.shape}; expected one for each {'item' if axis == 0 else 'feature'}."
            )
    columns = texts.get("columns") or tuple(map(default_name, range(x.shape[1])))
    choice = choose(path, columns, "columns" in texts)
    places = tuple(range(len(columns)))
    if "items" not in texts:
        return Raw(x, places, columns, "columns" in texts, choice, {})
    labels = {len(columns): list(texts["items"])}
    return Raw(x, places, (*columns, "items"), "columns" in texts, choice, labels)


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


def numpy_arrays(path: Path, choose: Callable[[list[str]], list[str]]) -> dict[str, np.ndarray]:
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
            raise InputError(
                f"{path} holds Python objects, which are not loaded; expected real numbers, and names as "
                "texts: np.array(names, str)."
            ) from error
        raise unreadable(path, path.suffix[1:].upper()) from error
