"""A program's arguments: arrays that JAX traces, and plain values that stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, overload

import jax
import numpy as np
from jax import Array, dtypes

from twinplate.verification.frames import is_frame, with_reals
from twinplate.verification.trees import map_leaves


class _Traced:
    """Stands in the plain values for an array."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Inputs:
    """`args` and `kwargs` as a JAX tree: arrays and floats are data, everything else is static."""

    arrays: tuple[Array | float, ...]
    plain: tuple[Any, ...] = field(metadata={"static": True})
    structure: Any = field(metadata={"static": True})

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) as the program is to be called."""
        return jax.tree.unflatten(self.structure, self._leaves())

    def fixed(self) -> Inputs:
        """The same with all of it static: the values are known where the program is traced."""
        return Inputs((), tuple(self._leaves()), self.structure)

    def _leaves(self) -> list[Any]:
        arrays = iter(self.arrays)
        return [next(arrays) if leaf is _Traced else leaf for leaf in self.plain]


def make_inputs(args: Any, kwargs: dict[str, Any], precision: str) -> Inputs:
    """Floating arrays in `precision`, integers in JAX's default type; arrays of any library.

    Frames stay frames, which JAX does not trace.
    """

    def keep(leaf: Any) -> Any:
        return with_reals(lambda x: x.astype(precision), leaf) if is_frame(leaf) else leaf

    args, kwargs = map_leaves(keep, tuple(args)), map_leaves(keep, dict(kwargs))
    return split_inputs(args, kwargs, lambda leaf: to_leaf(leaf, precision))


def split_inputs(args: Any, kwargs: dict[str, Any], convert: Callable[[Any], Any]) -> Inputs:
    """Arrays and floats as `convert` makes them, apart from everything else."""
    leaves, structure = jax.tree.flatten((tuple(args), dict(kwargs)))
    arrays = tuple(convert(leaf) for leaf in leaves if _is_traced(leaf))
    return Inputs(arrays, tuple(_Traced if _is_traced(x) else x for x in leaves), structure)


@overload
def to_leaf(values: np.ndarray, precision: str) -> Array: ...
@overload
def to_leaf(values: Any, precision: str) -> Array | float: ...
def to_leaf(values: Any, precision: str) -> Array | float:
    """An array of the session's types; a Python float stays one."""
    if isinstance(values, float) and not isinstance(values, np.generic):
        return values
    values = np.asarray(values)
    if np.issubdtype(values.dtype, np.floating):
        return _array(values, precision)
    return _array(values, int if np.issubdtype(values.dtype, np.integer) else values.dtype)


def to_draws(values: np.ndarray, precision: str) -> Array:
    """Values of a site; whole numbers as integers, so that the site's own type can be restored."""
    values = np.asarray(values)
    whole = values.dtype != bool and bool(
        np.all((np.abs(values) < 2**31) & (values == np.rint(values)))
    )
    return _array(values, int) if whole else to_leaf(values, precision)


def _array(values: np.ndarray, dtype: Any) -> Array:
    """A copy that NumPy converts: JAX would compile a program for it, one for each shape."""
    return jax.device_put(values.astype(dtypes.canonicalize_dtype(dtype)))


def _is_traced(leaf: Any) -> bool:
    if isinstance(leaf, jax.Array):
        return True  # keys too
    if is_frame(leaf):
        return False
    if isinstance(leaf, np.ndarray | np.generic) or hasattr(leaf, "__array__"):
        return np.asarray(leaf).dtype.kind in "biufc"
    return isinstance(leaf, float)
