"""Whole numbers inside of NumPyro's `scan` and `cond`, as they are in the program's own world.

There all whole numbers are int32. With 64-bit types, in which a program is recorded, those that a site or
jnp.arange makes are int64, beside an int32 that the program asks for by name, and JAX refuses a `scan` whose
carry changes its type, or a `cond` whose branches differ in theirs. Without 64-bit types nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def with_own_integers(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of `scan` (f, init, …) or of `cond` (pred, true_fun, false_fun, operand), to be run."""
    if callable(arguments[0]):
        return _carrying(arguments[0]), *arguments[1:]
    pred, *branches, operand = arguments
    return pred, *map(_widened, branches), operand


def _carrying(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step(carry, x)`, whose new carry's whole numbers are of the size of those of the old."""

    def like(new: Any, old: Any) -> Any:
        size = {jnp.result_type(x).name for x in (new, old)}
        return new.astype(jnp.result_type(old)) if size == {"int32", "int64"} else new

    def carrying(carry: Any, x: Any) -> tuple[Any, Any]:
        new, y = step(carry, x)
        before: Any = jax.tree.structure(carry)
        if jax.tree.structure(new) != before:  # which JAX will explain
            return new, y
        return jax.tree.map(like, new, carry), y

    return carrying


def _widened(branch: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`branch`, whose int32 results are of the default type of whole numbers."""

    def wide(x: Any) -> Any:
        return jnp.asarray(x, dtype=int) if jnp.result_type(x) == jnp.int32 else x

    return lambda operand: jax.tree.map(wide, branch(operand))
