"""The inputs of an encoder in spreads around their center: any units will do, and a far item stays near."""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from typing import Any

import jax.numpy as jnp
import numpyro
from jax import Array, lax

from twinplate.errors import InputError
from twinplate.guides.inputs import (
    FAR,
    NARROW,
    ROUNDINGS,
    WIDTH,
    check_columns,
    check_precision,
    columns,
    no_array,
    places,
    raise_without,
    stride,
    tell_of_few,
)
from twinplate.guides.structure import Frame


def standardized(
    prefix: str, given: list[Array] | None, rows: list[Array], items: Frame
) -> list[Array]:
    """`rows` (B, ...), each less its center, by its spread; those beyond FAR spreads moved in to it.

    given: the inputs of as many items as are at hand; None for new items, which say nothing of them. Center
        and spread are of those at the first call, parameters `{prefix}_center` and `{prefix}_spread` (C,),
        which have no gradient. Inputs that are not of floating point are left as they are.
    items: the plate, of whose items those at hand may be too few to say much.

    Raises InputError for inputs of another width, and where the parameters are wanted for new items.
    """
    sizes = [columns(x.shape) if _is_floating_point(x) else 0 for x in rows]
    if not any(sizes):
        return rows

    def first(name: str, which: int, key: Array) -> Array:
        if given is None:
            raise_without(name)
        if which == 0:
            tell_of_few(max(map(len, given)), items)
        return jnp.concatenate([_moments(x)[which] for x in given if _is_floating_point(x)])

    center, spread = (
        lax.stop_gradient(numpyro.param(name, partial(first, name, which)))
        for which, name in enumerate([f"{prefix}_center", f"{prefix}_spread"])
    )
    check_columns(f"{prefix}_center", len(center), sum(sizes))
    ends = list(accumulate(sizes))[:-1]
    parts = zip(jnp.split(center, ends), jnp.split(spread, ends), strict=True)
    return [
        _near((x - middle) / unit) if len(middle) else x
        for x, (middle, unit) in zip(rows, parts, strict=True)
    ]


def _moments(x: Array) -> tuple[Array, Array]:
    """Center and spread (C,) of the entries of `x` (N, ...)."""
    looked = jnp.nan_to_num(x[:: stride(x.shape)], nan=0.0, posinf=0.0, neginf=0.0)
    table = jnp.sort(looked.reshape(-1, columns(x.shape)), axis=0)
    low, middle, high = (table[place] for place in places(len(table)))
    deviation = table.std(0)
    rounding = ROUNDINGS * jnp.finfo(x.dtype).eps * jnp.abs(middle)
    changes = high - low > jnp.maximum(NARROW * deviation, rounding)
    spread = jnp.where(changes, (high - low) / WIDTH, deviation)
    varies = table[-1] - table[0] > rounding
    return middle, jnp.where(varies & (spread > 0), spread, jnp.maximum(rounding, 1.0))


def as_numbers(inputs: list[Any]) -> list[Array]:
    """Bytes, which are those of images, as floating-point numbers; arrays of NumPy as JAX's.

    Raises InputError for numbers of 16 bits, and for what is no array.
    """
    for x in inputs:
        if not hasattr(x, "__array__"):
            raise InputError(no_array(type(x).__name__, "an array"))
    arrays = [jnp.asarray(x) for x in inputs]
    for x in arrays:
        check_precision("features", str(x.dtype))
    return [x.astype(float) if x.dtype == jnp.uint8 else x for x in arrays]


def _near(z: Array) -> Array:
    size = jnp.sqrt(jnp.maximum(jnp.mean(jnp.square(z.reshape(len(z), -1)), 1), FAR**2))
    return z * (FAR / size).reshape(-1, *(1,) * (z.ndim - 1))


def _is_floating_point(x: Array) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))
