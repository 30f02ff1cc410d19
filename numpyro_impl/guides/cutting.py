"""The gradient of an item that stands out is cut, so that one outlier does not throw a network about."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from twinplate.guides.cutting import MOST, usual_place


@jax.custom_vjp
def cut_gradients(numbers: Array) -> Array:
    """`numbers` (B, H), whose gradient has no row of a size more than MOST times the usual one.

    The size of a row is its largest entry; the usual one that of the item at nine tenths of the mini-batch.

    >>> weights = jnp.array([1.0] * 10 + [1e6])
    >>> jax.grad(lambda numbers: cut_gradients(numbers)[:, 0] @ weights)(jnp.zeros((11, 1)))[9:, 0].tolist()
    [1.0, 100.0]
    """
    return numbers


def _forward(numbers: Array) -> tuple[Array, None]:
    return numbers, None


def _cut(_: None, gradient: Array) -> tuple[Array]:
    size = jnp.abs(gradient).max(-1)
    most = MOST * jnp.sort(size)[usual_place(len(size))]
    # By division of what is larger alone: all others keep their bits.
    return (gradient / jnp.where((size > most) & (most > 0), size / most, 1.0)[:, None],)


cut_gradients.defvjp(_forward, _cut)
