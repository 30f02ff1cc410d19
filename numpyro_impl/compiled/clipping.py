"""Gradients of which none is far larger than usual: each tensor's is cut by its own running mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from twinplate.training.step_size import MEMORY, SETTLED


class Sizes(NamedTuple):
    """What is known of the gradients of L tensors, in the order of their tree; all but `steps` are (L,).

    square: running mean of the squared norm, which starts at zero.  weight: of all steps in it, 1 - βⁿ.
    steps: n.  largest: how many times its usual size a gradient was at most.
    at: the step, counted from 0, at which that was.
    """

    square: Array
    weight: Array
    steps: Array
    largest: Array
    at: Array

    @classmethod
    def start(cls, params: Any) -> Sizes:
        """Before the first step."""
        leaves = jax.tree.leaves(params)
        zeros = jnp.zeros(len(leaves), jnp.result_type(*leaves))
        none = jnp.zeros((), jnp.int32)
        return cls(zeros, zeros, none, zeros, jnp.zeros(len(leaves), jnp.int32))

    @classmethod
    def of_moments(cls, variance: Any, step: Any) -> Sizes:
        """After `step` steps of Adam: the sum of its second moments is the running mean of squared norms."""
        found = cls.start(variance)
        square = jnp.stack([jnp.sum(leaf) for leaf in jax.tree.leaves(variance)])
        steps = jnp.asarray(step, jnp.int32)
        weight = jnp.full_like(square, 1 - MEMORY ** steps.astype(square.dtype))
        return found._replace(square=square, weight=weight, steps=steps)


def clip(gradients: Any, sizes: Sizes, most: float) -> tuple[Any, Sizes]:
    """The tree of gradients, each at most `most` times its usual size; and the sizes after this step.

    The usual size of a tensor's gradient is the root of the running mean of its squared norm, in which a
    gradient counts as it was cut. Without a step before, or with none but zeros, nothing is cut.
    """
    leaves, structure = jax.tree.flatten(gradients)
    square = jnp.stack([jnp.sum(jnp.square(leaf)) for leaf in leaves]).astype(sizes.square.dtype)
    known = sizes.square > 0
    usual = sizes.square / jnp.where(known, sizes.weight, 1)
    most_finite = jnp.finfo(square.dtype).max
    times = jnp.minimum(jnp.sqrt(square / jnp.where(known, usual, jnp.inf)), most_finite)
    kept = 1 / jnp.maximum(times / most, 1)
    counted = jnp.where(known, jnp.minimum(square, most**2 * usual), square)
    is_larger = (sizes.steps >= SETTLED) & (times > sizes.largest)
    after = Sizes(
        MEMORY * sizes.square + (1 - MEMORY) * counted,
        MEMORY * sizes.weight + (1 - MEMORY),
        sizes.steps + 1,
        jnp.where(is_larger, times, sizes.largest),
        jnp.where(is_larger, sizes.steps, sizes.at),
    )
    cut = [leaf * part.astype(leaf.dtype) for leaf, part in zip(leaves, kept, strict=True)]
    return jax.tree.unflatten(structure, cut), after
