"""The user's arrays, exchanged for a run in another precision and given back.

`LOC = jnp.array(0.5)` beside a model is in single precision for ever, and `COUNT = jnp.array([1000, 600])`
in 32 bits. JAX computes with them in single precision, gammaln of such counts too, until it meets something
wider: a run in double precision needs other arrays there.

Of a NumPy array JAX makes what it needs, but keeps what it has made: one that was a constant of a run in
double precision has 64 bits in the next, single or not, whose operations then refuse it. So a run in single
precision has copies, which JAX has not met.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_impl.reachable import places_of

_WIDE = ("float64", "int64", "uint64", "complex128")


@contextmanager
def in_precision(programs: tuple[Any, ...], precision: str) -> Iterator[None]:
    """Inside, the arrays that these functions reach have the default types of `precision`.

    Floating-point arrays are in it; in "float64" whole numbers of JAX's default type, int32, are int64.
    """
    places = [(value, put, _converted(value, precision)) for value, put in places_of(*programs)]
    exchanged = [(value, put, new) for value, put, new in places if new is not value]
    try:
        for _, put, new in exchanged:
            put(new)
        yield
    finally:
        for value, put, _ in exchanged:
            put(value)


def _converted(value: Any, precision: str) -> Any:
    """The value in the other types, or itself; tuples are made anew where an array in them is."""
    if isinstance(value, tuple):
        items = [_converted(item, precision) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, np.ndarray) and value.dtype in _WIDE:
        return value.copy() if precision == "float32" else value
    dtype = _dtype(value, precision)
    if dtype is None or value.dtype == dtype:
        return value
    return value.astype(dtype) if isinstance(value, np.ndarray) else jnp.asarray(value, dtype=dtype)


def _dtype(value: Any, precision: str) -> str | None:
    """The type to convert an array to, None for what is no array, and for types that were chosen."""
    if isinstance(value, jax.core.Tracer) or not isinstance(value, jax.Array | np.ndarray):
        return None
    if value.dtype == np.int32 and precision == "float64":
        return "int64"
    if isinstance(value, np.ndarray) and value.dtype != np.float32:
        return None  # JAX makes what it needs of it
    return precision if jnp.issubdtype(value.dtype, jnp.floating) else None
