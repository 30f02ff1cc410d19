"""A mini-batch too large for the device's memory, taken in blocks of items within one step.

The loss is a sum over items, so its value and its gradient are sums over blocks. Each block consumes
its part of the noise that the whole mini-batch would have drawn: the step is the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array, lax, random
from numpyro.primitives import Messenger

from numpyro_impl.noise import noise_shape, push_forward, unwrapped
from numpyro_impl.objectives import Loss

ValueAndGradient = Callable[..., tuple[Array, Any]]


class block_noise(Messenger):  # noqa: N801  (handlers are lower case in NumPyro)
    """Draw the noise of `total` items at every site and keep that of the `size` items from `start` on."""

    def __init__(self, start: Array | int, size: int, total: int) -> None:
        super().__init__(None)
        self.start, self.size, self.total = start, size, total

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] != "sample" or msg["value"] is not None:
            return
        if isinstance(unwrapped(msg["fn"]), dist.Delta):
            return
        shape, axis = list(noise_shape(msg["fn"])), len(msg["fn"].batch_shape) - 1
        shape[axis] = self.total
        noise = random.normal(msg["kwargs"]["rng_key"], tuple(shape))
        noise = lax.dynamic_slice_in_dim(noise, self.start, self.size, axis)
        msg["value"], msg["intermediates"] = push_forward(msg["fn"], noise)


def value_and_gradient(
    make_loss: Callable[[int], Loss],
    num_items: int,
    batch_size: int,
    length: int,
    axes: dict[str, int],
) -> ValueAndGradient:
    """`jax.value_and_grad` of `make_loss(num_items)` for mini-batches of B items, `length` at a time.

    axes: of the items in the base noise of each site (`twinplate.memory.item_axes`).
    """
    if length >= batch_size:
        return jax.value_and_grad(make_loss(num_items))
    # A plate of all items draws no subsample and so takes no key: nor may those of its blocks.
    full = num_items == batch_size

    def of_block(start: Any, size: int, params: Any, key: Array, x: Any, a: Any, noise: Any) -> Any:
        def part(values: Array, axis: int) -> Array:
            return lax.dynamic_slice_in_dim(values, start, size, axis)

        def loss(params: Any) -> Array:
            pairs = None if a is None else part(a, 1)
            given = {name: part(values, axes[name]) for name, values in noise.items()}
            with block_noise(start, size, batch_size):
                value = make_loss(size if full else num_items)(
                    params, key, part(x, 0), pairs, given
                )
            return value if full else value * (size / batch_size)

        return jax.value_and_grad(loss)(params)

    def of_batch(params: Any, *rest: Any) -> tuple[Array, Any]:
        def add(total: Any, start: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, of_block(start, length, params, *rest)), None

        starts = jnp.arange(batch_size // length) * length
        zero = jax.tree.map(jnp.zeros_like, (jax.tree.leaves(params)[0].sum(), params))
        total, _ = lax.scan(add, zero, starts)
        if left := batch_size % length:
            last = of_block(batch_size - left, left, params, *rest)
            total = jax.tree.map(jnp.add, total, last)
        return total

    return of_batch
