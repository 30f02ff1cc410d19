"""Numbers that a program holds become arguments of it: for other numbers it is not compiled again.

What a function closes over (the scales of columns, loadings that are given, a data set) JAX writes into the
program, by whose text it finds on disk what it has compiled. With the numbers apart two data sets of the same
shapes have the same program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def numbers_apart(
    function: Callable[..., Any], *arguments: Any
) -> tuple[Callable[..., Any], list[Array]]:
    """`apart(*arguments, numbers)` and `numbers`: what `function(*arguments)` computes, traced now.

    Apart are arrays of real or complex numbers on this process's devices. Whole numbers stay: the compiler
    knows what it can do with an index that does not change. An array on several devices stays there, but
    where arguments are bound to others.

    >>> scale = jnp.array([2.0, 3.0])
    >>> apart, numbers = numbers_apart(lambda x: x * scale, jnp.ones(2))
    >>> numbers
    [Array([2., 3.], dtype=float32)]
    >>> apart(jnp.ones(2), [10 * numbers[0]])
    Array([20., 30.], dtype=float32)
    """
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    places = [i for i, constant in enumerate(traced.consts) if _is_apart(constant)]

    def apart(*arguments_and_numbers: Any) -> Any:
        *arguments, numbers = arguments_and_numbers
        constants = list(traced.consts)
        for i, values in zip(places, numbers, strict=True):
            constants[i] = values
        found = jax.core.eval_jaxpr(traced.jaxpr, constants, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    # By which its compilation is called on disk; a partial has no name.
    apart.__name__ = getattr(function, "func", function).__name__
    held = [traced.consts[i] for i in places]
    spread = filter(_is_on_several, held)
    can_stay = len(_bound_to([*jax.tree.leaves(arguments), *spread])) < 2
    # Others are copied, since JAX would read NumPy's own memory at each call; on no device in particular:
    # what they meet decides where they are needed.
    return apart, [c if can_stay and _is_on_several(c) else jnp.array(np.asarray(c)) for c in held]


def _is_apart(constant: Any) -> bool:
    is_number = np.ndim(constant) > 0 and jnp.issubdtype(jnp.result_type(constant), jnp.inexact)
    return is_number and getattr(constant, "is_fully_addressable", True)


def _is_on_several(constant: Any) -> bool:
    return isinstance(constant, Array) and len(constant.sharding.device_set) > 1


def _bound_to(arrays: list[Any]) -> set[frozenset[jax.Device]]:
    """The sets of devices on which they have to stay; a computation can be on one alone."""
    return {frozenset(a.sharding.device_set) for a in arrays if getattr(a, "committed", False)}
