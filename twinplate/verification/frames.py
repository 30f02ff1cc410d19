"""Frames among the arguments of programs: programs read them by the names of columns, so they stay frames.

Frames and series of pandas and polars, arrays and data sets of xarray. None of them is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from twinplate.records.record import Array

LIBRARIES = ("pandas", "polars", "xarray")


def is_frame(leaf: Any) -> bool:
    """Whether this is a frame, a series or what else belongs to such a library.

    >>> import pandas, numpy
    >>> is_frame(pandas.Series([1.0])), is_frame(numpy.ones(1))
    (True, False)
    """
    return any(cls.__module__.partition(".")[0] in LIBRARIES for cls in type(leaf).__mro__)


def with_reals(function: Callable[[Array], Array], frame: Any) -> Any:
    """A copy of the frame with `function`, (N,) to (N,), of each column of real numbers; without, itself.

    >>> import pandas
    >>> frame = pandas.DataFrame({"site": ["a", "b"], "y": [1.5, 2.5], "n": [3, 4]})
    >>> with_reals(lambda y: y + 1, frame).to_dict("list")
    {'site': ['a', 'b'], 'y': [2.5, 3.5], 'n': [3, 4]}
    """
    if hasattr(frame, "isetitem"):  # a DataFrame of pandas; names of its columns may be there twice
        changed = frame.copy()
        for i, dtype in enumerate(frame.dtypes):
            if _is_real(dtype):
                changed.isetitem(i, function(frame.iloc[:, i].to_numpy()))
        return changed
    if hasattr(frame, "with_columns"):  # of polars
        return frame.with_columns(with_reals(function, column) for column in frame.get_columns())
    if hasattr(frame, "data_vars"):  # a Dataset of xarray
        return frame.map(lambda array: with_reals(function, array))
    if not _is_real(getattr(frame, "dtype", None)):
        return frame
    values = function(frame.to_numpy())
    if hasattr(frame, "iloc"):
        return type(frame)(values, index=frame.index, name=frame.name)
    if hasattr(frame, "to_dataset"):
        return frame.copy(data=values)
    return type(frame)(frame.name, values).set(frame.is_null(), None)


def _is_real(dtype: Any) -> bool:
    """Whether a column's type is one of NumPy's real numbers, or of polars', which has its own types."""
    if hasattr(dtype, "is_float"):
        return bool(dtype.is_float())
    return isinstance(dtype, np.dtype) and dtype.kind == "f"
