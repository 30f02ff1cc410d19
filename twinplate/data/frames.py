"""Frames and other labelled matrices as numbers with names; none of the libraries they are of is imported.

Known are the DataFrame of pandas and of polars, AnnData, the DataArray of xarray, whose two dims are items
and features, SciPy's sparse matrices, NumPy's masked arrays, torch's tensors and JAX's arrays. Items are
rows. Numbers become float64: small integer types, in which sums and densities overflow, do not enter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twinplate.data.columns import listed
from twinplate.errors import InputError

FEATURE_DIMS = "feature", "features"  # of xarray, that say which they are
ITEM_DIMS = "item", "items"
KINDS = "biuf"  # of NumPy's types, and of those of pandas that hold numbers
WIDE = "Int128", "UInt128"  # types of polars that NumPy does not have


@dataclass(frozen=True, eq=False)
class Frame:
    """`x` (N, D), NaN where missing, and the names of features and of items; () where they have none."""

    x: np.ndarray
    columns: tuple[str, ...] = ()
    items: tuple[str, ...] = ()


def to_frame(x: Any) -> Frame | None:
    """The numbers and names of a labelled matrix; None for anything else, such as an array.

    Raises InputError for a column that holds no numbers, and for names of features that are not unique.
    """
    for known, read in READERS:
        if all(hasattr(x, name) for name in known):
            frame = read(x)
            if len({*frame.columns}) < len(frame.columns):
                twice = next(name for name in frame.columns if frame.columns.count(name) > 1)
                raise InputError(f"column {twice!r} is there twice in x; expected once")
            return replace(frame, x=np.ascontiguousarray(frame.x))
    return None


def items_of(x: Any, features: Sequence[str] = ()) -> Any:
    """The matrix (N, D) of a labelled one, or `x` itself.

    features: what the columns are called. They are found by name, in whatever order, where both have names.

    Raises InputError as `to_frame`, and for names that are missing or unknown.
    """
    frame = to_frame(x)
    if frame is None:
        return x
    if not features or frame.columns in ((), tuple(features)):
        return frame.x
    missing = [name for name in features if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in features]
    if missing or unknown:
        raise InputError(
            f"x has other columns than the fit: missing: {listed(missing) or 'none'}; unknown: "
            f"{listed(unknown) or 'none'}; expected {listed(features)}"
        )
    places = {name: j for j, name in enumerate(frame.columns)}
    return np.ascontiguousarray(frame.x[:, [places[name] for name in features]])


def aligned(values: Any, x: Any) -> Any:
    """One value an item, in the order of the items of `x` where both have an index of pandas.

    Raises InputError where their indices are not of the same items.
    """
    if not (hasattr(x, "iloc") and hasattr(values, "reindex")) or values.index.equals(x.index):
        return values
    if len(values) != len(x) or not values.index.is_unique or not x.index.isin(values.index).all():
        raise InputError(
            f"a Series of {len(values)} values has another index than x, of {len(x)} items; expected a value "
            "for each item of x by its index, or an array in the order of the items"
        )
    return values.reindex(x.index)


def item_names(x: Any) -> tuple[str, ...]:
    """What the items of a labelled matrix are called; () where they have no names."""
    frame = to_frame(x)
    return () if frame is None else frame.items


def _pandas(x: Any) -> Frame:
    columns = _texts(x.columns)
    kinds = [
        (name, str(dtype), dtype.kind in KINDS)
        for name, dtype in zip(columns, x.dtypes, strict=True)
    ]
    _check_numbers(kinds)
    values = x.to_numpy(dtype=np.float64, na_value=np.nan)
    named = not isinstance(getattr(x.columns, "step", None), int)  # a range of numbers is no name
    items = () if isinstance(getattr(x.index, "step", None), int) else _texts(x.index)
    return Frame(values, columns if named else (), items)


def _polars(x: Any) -> Frame:
    columns = tuple(x.columns)
    numeric = [dtype.is_numeric() or str(dtype) == "Boolean" for dtype in x.dtypes]
    _check_numbers(zip(columns, map(str, x.dtypes), numeric, strict=True))
    values = np.empty(x.shape)
    for j, column in enumerate(x.get_columns()):
        wide = str(column.dtype) in WIDE
        numbers = np.array(column.to_list(), object) if wide else column.to_numpy()
        values[:, j] = _floats(numbers)
    return Frame(values, columns)


def _not_read(x: Any) -> Frame:
    """A query of polars that has not been asked yet."""
    raise InputError("x is a LazyFrame, a query; expected its rows: x.collect()")


def _floats(numbers: np.ndarray) -> np.ndarray:
    """As float64. Booleans and decimals with gaps come as objects, with None for a gap; others with NaN."""
    if numbers.dtype.kind != "O":
        return numbers.astype(np.float64)
    return np.array([np.nan if number is None else float(number) for number in numbers])


def _anndata(x: Any) -> Frame:
    if x.X is None:
        raise InputError("the AnnData x has no X; expected one, or a layer: x.to_df(layer='NAME')")
    return Frame(_numbers(x.X), _texts(x.var_names), _texts(x.obs_names))


def _xarray(x: Any) -> Frame:
    if len(x.dims) != 2:
        raise InputError(f"x has dims {x.dims}; expected two, of items and of features")
    if x.dims[0] in FEATURE_DIMS or x.dims[1] in ITEM_DIMS:
        raise InputError(
            f"x has dims {x.dims}, features before items; expected items first: pass x.transpose()"
        )
    items, columns = (_texts(x.coords[dim].values) if dim in x.coords else () for dim in x.dims)
    return Frame(_numbers(x.values), columns, items)


def _several(x: Any) -> Frame:
    """A Dataset of xarray."""
    names = [*map(str, x.data_vars)]
    raise InputError(
        f"x is a Dataset, of {listed(names) or 'nothing'}; expected a DataArray of items and features: "
        f"x[{names[0] if names else 'NAME'!r}], or x.to_dataarray('feature').T for columns of one dim each"
    )


def _sparse(x: Any) -> Frame:
    return Frame(_numbers(x))


def _numbers(values: Any) -> np.ndarray:
    """A matrix, dense or sparse, in memory or in a file, as float64. What is not stored is zero."""
    dense = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    _check_real(dense.dtype, dense.dtype.kind in KINDS)
    return np.asarray(dense, dtype=np.float64)


def _check_real(dtype: Any, is_real: bool) -> None:
    if not is_real:
        raise InputError(f"x holds {dtype} values; expected real numbers, NaN where missing")


def _check_numbers(columns: Iterable[tuple[str, str, bool]]) -> None:
    for name, dtype, numeric in columns:
        if not numeric:
            raise InputError(
                f"column {name!r} of x has type {dtype}; expected numbers: leave the column out, or give "
                "categories numbers of your own"
            )


def _masked(x: Any) -> Frame:
    """NumPy's masked array: what is masked is missing."""
    _check_real(x.dtype, x.dtype.kind in KINDS)
    return Frame(np.ma.filled(x.astype(np.float64), np.nan))


def _torch(x: Any) -> Frame:
    """A tensor, wherever it lives and whether or not it is trained. What is not stored is zero."""
    _check_real(str(x.dtype).removeprefix("torch."), not x.is_complex())
    return Frame(x.detach().cpu().to_dense().double().numpy())


def _jax(x: Any) -> Frame:
    """An array, wherever it lives; bfloat16 is a type that NumPy has no kind for."""
    values = np.asarray(x)
    return Frame(_numbers(values.astype(np.float64) if values.dtype.kind == "V" else values))


def _texts(names: Iterable[Any]) -> tuple[str, ...]:
    return tuple(map(str, names))


# what an object of a library is known by, and how it is read
READERS: tuple[tuple[tuple[str, ...], Callable[[Any], Frame]], ...] = (
    (("obs_names", "var_names"), _anndata),
    (("get_columns", "null_count"), _polars),
    (("iloc", "columns", "dtypes"), _pandas),
    (("collect", "collect_schema"), _not_read),
    (("dims", "coords", "values", "to_dataset"), _xarray),
    (("data_vars", "coords"), _several),
    (("toarray", "nnz"), _sparse),
    (("mask", "filled", "fill_value"), _masked),
    (("detach", "cpu", "double"), _torch),
    (("addressable_shards", "block_until_ready"), _jax),
)
