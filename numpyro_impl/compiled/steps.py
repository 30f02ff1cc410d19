"""Steps of an SVI as one loop that can be compiled, and what goes into it: arguments, keys, rates, guides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from numpyro.infer.autoguide import AutoGuide, AutoGuideList
from numpyro.infer.svi import SVIState

from numpyro_impl.arguments import Inputs, split_inputs
from twinplate.errors import InputError
from twinplate.training.plan import CHUNK

Update = Callable[..., tuple[SVIState, Array]]
SMALL = 2**16  # numbers of a leaf


def take_steps(
    update: Update, inputs: Inputs, state: SVIState, arrays: tuple[Any, ...], steps: Array
) -> tuple[SVIState, Array, Array]:
    """The state after `steps` steps, CHUNK at most; their losses (CHUNK,); whether all stayed finite.

    arrays: those of `inputs`, of which the loop has nothing else as data: where only a fixed argument is
        another one and the program does not show it, what is compiled still serves.
    """
    args, kwargs = replace(inputs, arrays=arrays).arguments()

    def step(i: Array, carry: tuple[SVIState, Array]) -> tuple[SVIState, Array]:
        state, loss = update(carry[0], *args, **kwargs)
        return state, carry[1].at[i].set(loss)

    # Some optimisers start with an infinite number: what was not finite before has not broken now.
    before = finite_numbers(state)
    # The number of steps is data, so one compiled loop takes any number up to CHUNK; the losses have
    # room for all.
    state, losses = lax.fori_loop(0, steps, step, (state, jnp.zeros(CHUNK)))
    return state, losses, jnp.all(finite_numbers(state) | ~before) & jnp.isfinite(losses).all()


@jax.jit
def finite_numbers(tree: Any) -> Array:
    """Whether each real number of a tree is finite; of a large leaf, whether all of its numbers are.

    The numbers of small leaves are one row. With a reduction for each of them, more would be compiled here
    than for a step; a copy of a large one would be memory that a step does not need.
    """
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]
    small = [jnp.ravel(x) for x in leaves if jnp.size(x) <= SMALL]
    large = [jnp.isfinite(x).all(keepdims=True).ravel() for x in leaves if jnp.size(x) > SMALL]
    return jnp.concatenate([jnp.isfinite(jnp.concatenate([jnp.zeros(0, bool), *small])), *large])


@jax.jit
def copied(state: SVIState) -> SVIState:
    """The state in buffers of its own. The loop is donated its state and writes into these buffers.

    The caller's state, which would be gone after that, stays as it is.
    """
    return jax.tree.map(jnp.copy, state)


def to_inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """Arrays and floats as they are, traced; anything else is fixed."""
    return split_inputs(args, kwargs, lambda leaf: leaf)


def keys_and_rates(
    rng_keys: Array, optim: Any, learning_rates: Sequence[float] | None
) -> tuple[Array, Array | None]:
    """Every learning rate with every key, both (R,); no rates without an optimiser of one."""
    typed = jnp.issubdtype(rng_keys.dtype, jax.dtypes.prng_key)
    if rng_keys.ndim != (1 if typed else 2) or not len(rng_keys):
        raise InputError(
            f"rng_keys has shape {rng_keys.shape}; expected a row of keys, such as random.split(key, 8)"
        )
    if optim is None and learning_rates is None:
        return rng_keys, None
    if optim is None or not learning_rates:
        raise InputError(
            f"optim is {optim} and learning_rates is {learning_rates}; expected both or neither: an "
            "optimiser of a rate, such as numpyro.optim.Adam, and one rate or more"
        )
    rates = jnp.repeat(jnp.asarray(learning_rates, float), len(rng_keys))
    return jnp.concatenate([rng_keys] * len(learning_rates)), rates


def unprepared(guide: Any) -> Any:
    """The guide; an automatic one, which keeps the values that it once started from, without them.

    With them every fit would start where the first one did, whatever its key.
    """
    if isinstance(guide, AutoGuide):
        guide = copy(guide)
        guide.prototype_trace = None
    if isinstance(guide, AutoGuideList):
        guide._guides = [unprepared(part) for part in guide._guides]
    return guide
