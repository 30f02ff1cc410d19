"""A mini-batch too large for the device's memory, taken in blocks of items within one step.

The loss is a sum over items, so its value and its gradient are sums over blocks. Each block consumes
its part of the noise of the whole mini-batch: the step is the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from numpyro_impl.objectives.losses import Loss
from numpyro_impl.programs.parameters import NativeParams

ValueAndGradient = Callable[..., tuple[Array, NativeParams]]


def value_and_gradient(
    loss: Loss, batch_size: int, length: int, axes: dict[str, int]
) -> ValueAndGradient:
    """`jax.value_and_grad(loss)` for mini-batches of B = `batch_size` items, `length` at a time.

    axes: of the items in the base noise of each site (`twinplate.training.memory.item_axes`). All noise
    has to be given: what a block would draw from the key is not its part of what the mini-batch would.
    """
    if length >= batch_size:
        return jax.value_and_grad(loss)

    def of_block(start: Any, size: int, params: Any, key: Array, x: Any, a: Any, noise: Any) -> Any:
        def part(values: Array, axis: int) -> Array:
            return lax.dynamic_slice_in_dim(values, start, size, axis)

        def share(params: NativeParams) -> Array:
            pairs = None if a is None else part(a, 1)
            given = {name: part(values, axes[name]) for name, values in noise.items()}
            return loss(params, key, part(x, 0), pairs, given) * (size / batch_size)

        return jax.value_and_grad(share)(params)

    def of_batch(params: NativeParams, *rest: Any) -> tuple[Array, NativeParams]:
        def add(total: Any, start: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, of_block(start, length, params, *rest)), None

        zero = jax.tree.map(jnp.zeros_like, (jax.tree.leaves(params)[0].sum(), params))
        total, _ = lax.scan(add, zero, jnp.arange(batch_size // length) * length)
        if left := batch_size % length:
            last = of_block(batch_size - left, left, params, *rest)
            total = jax.tree.map(jnp.add, total, last)
        return total

    return of_batch
