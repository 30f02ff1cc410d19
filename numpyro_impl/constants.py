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
    knows what it can do with an index that does not change.

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
    # Copies, since JAX would read NumPy's own memory at each call; on no device in particular: what they meet
    # decides where they are needed.
    return apart, [jnp.array(np.asarray(traced.consts[i])) for i in places]


def _is_apart(constant: Any) -> bool:
    is_number = np.ndim(constant) > 0 and jnp.issubdtype(jnp.result_type(constant), jnp.inexact)
    return is_number and getattr(constant, "is_fully_addressable", True)
