"""Programs as JAX traces them: those that stand inside of another one's equations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jax.extend import core


def inner_jaxprs(options: Iterable[Any]) -> Iterator[core.Jaxpr]:
    """The programs among the options of an equation: the body of a loop, the function that it calls.

    >>> import jax
    >>> (equation,) = jax.make_jaxpr(jax.jit(lambda x: x + 1))(2.0).eqns
    >>> [inner.eqns[0].primitive.name for inner in inner_jaxprs(equation.params.values())]
    ['add']
    """
    for value in options:
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from inner_jaxprs(value)
