"""The user's arrays, exchanged for a run in another precision and given back.

`LOC = jnp.array(0.5)` beside a model is in single precision for ever. JAX computes with it in single
precision until it meets something wider, so a run in double precision needs another array there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_impl.reachable import places_of


@contextmanager
def in_precision(programs: tuple[Any, ...], precision: str) -> Iterator[None]:
    """Inside, the floating-point arrays that these functions reach are in `precision`."""
    exchanged = [
        (value, put)
        for value, put in places_of(*programs)
        if _is_array(value) and value.dtype != precision
    ]
    try:
        for value, put in exchanged:
            put(jnp.asarray(value, dtype=precision))
        yield
    finally:
        for value, put in exchanged:
            put(value)


def _is_array(value: Any) -> bool:
    concrete = isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer)
    return concrete and jnp.issubdtype(value.dtype, jnp.floating)
