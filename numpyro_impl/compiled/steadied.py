"""An optimiser of NumPyro whose steps cannot run away: gradients are cut, and the rate can be lowered."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.example_libraries.optimizers import OptimizerState
from numpyro.infer.svi import SVIState
from numpyro.optim import _NumPyroOptim

from numpyro_impl.compiled.clipping import Sizes, clip
from twinplate.errors import InputError
from twinplate.training.state import Limits


class Steady(NamedTuple):
    """The state of a `SteadiedOptim`.

    optimizer: the state of the optimiser that it stands before.  sizes: of the gradients.
    share: of the learning rate that steps have, 1 until some went wrong.
    limit: the loss above which the end of the next steps has gone wrong.
    """

    optimizer: Any
    sizes: Sizes
    share: Array
    limit: Array


class SteadiedOptim(_NumPyroOptim):
    """`optim` for gradients that are at most `most` times their usual size; None cuts none.

    With a share below 1, parameters go that part of the way on which `optim` sends them. Raises InputError
    for one that computes gradients itself, such as `numpyro.optim.Minimize`.
    """

    def __init__(self, optim: _NumPyroOptim, most: float | None) -> None:
        if type(optim).eval_and_update is not _NumPyroOptim.eval_and_update:
            raise InputError(
                f"{type(optim).__name__} computes gradients itself, so that none can be cut; expected an "
                "optimiser that is given them, such as numpyro.optim.Adam, or neither `clip` nor `net`"
            )
        self.optim, self.most = optim, most

    def init(self, params: Any) -> Steady:
        limits = jnp.ones(()), jnp.full((), jnp.finfo(jnp.result_type(float)).max)
        return Steady(self.optim.init(params), Sizes.start(params), *limits)

    def update(self, g: Any, state: Steady, value: Any = None) -> Steady:
        sizes = state.sizes
        if self.most is not None:
            g, sizes = clip(g, sizes, self.most)
        after = self.optim.update(g, state.optimizer, value=value)
        old, new = self.get_params(state), self.optim.get_params(after)

        def part(old: Array, new: Array) -> Array:
            return jnp.where(
                state.share == 1, new, old + state.share.astype(old.dtype) * (new - old)
            )

        count, inner = after
        moved = count, _with_params(inner, jax.tree.map(part, old, new))
        return Steady(moved, sizes, state.share, state.limit)

    def get_params(self, state: Steady) -> Any:
        return self.optim.get_params(state.optimizer)


def _with_params(state: Any, params: Any) -> Any:
    """The state of an optimiser with other parameters; they come first in it, in JAX's form and optax's."""
    if not isinstance(state, OptimizerState):
        return (params, *state[1:])
    parts = zip(jax.tree.leaves(params), state.packed_state, strict=True)
    leaves = [x for leaf, part in parts for x in (leaf, *jax.tree.leaves(part)[1:])]
    packed = jax.tree.unflatten(jax.tree.structure(state.packed_state), leaves)
    return OptimizerState(packed, state.tree_def, state.subtree_defs)


def limits_of(state: SVIState) -> Limits:
    """The limits that a state holds; a share of the rate counts as a rate."""
    steady = state.optim_state
    return Limits(float(steady.share), float(steady.limit))


def with_limits(state: SVIState, limits: Limits) -> SVIState:
    """The state with other limits."""
    steady = state.optim_state
    least = jnp.finfo(steady.limit.dtype).max
    share = jnp.full_like(steady.share, min(limits.rate, 1.0))
    limit = jnp.minimum(jnp.full_like(steady.limit, limits.loss), least)
    return state._replace(optim_state=steady._replace(share=share, limit=limit))
