"""Fit a program: mini-batches, Adam under a cosine schedule, losses per item."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax, random

from numpyro_impl.device import DTYPES, find_device, memory, to_array, using
from numpyro_impl.item_blocks import ValueAndGradient, value_and_gradient
from numpyro_impl.objectives import make_loss
from numpyro_impl.pairs import build
from numpyro_impl.params import to_native, to_neutral
from twinplate.blocks import on_disk
from twinplate.config import TrainingConfig
from twinplate.memory import item_axes, items_at_once
from twinplate.program import Program, initial_params
from twinplate.streaming import with_batches
from twinplate.training import Chunk, Fit, Progress, TrainingState, check_pairs, chunks


def fit(
    x: np.ndarray,
    program: Program,
    training: TrainingConfig,
    *,
    a: np.ndarray | None = None,
    state: TrainingState | None = None,
    matched: bool = False,
    progress: Progress | None = None,
) -> Fit:
    """Train `program` on `x` (N, D), NaN where missing, for `training.steps` steps in all.

    x: an array, which goes to the device as a whole, or a memory map (`np.load` with `mmap_mode="r"`),
        of which only the mini-batches ahead are read.
    a: pairs (K, N) for the objective "pairs".
    state: where to go on from; by default the initial parameters of `training.seed`.
    matched: take the base noise from `twinplate.seeds`, the same numbers in both twins, instead of
        JAX's keys. Initial parameters and mini-batches are the same in any case.
    progress: called after every chunk of steps.

    On one CPU with a fixed number of threads the result is the same to the bit for equal arguments.
    Raises InputError for arguments that do not fit.
    """
    training.check_items(len(x))
    check_pairs(a, training.objective, program.config.num_components, len(x))
    state = state or TrainingState.start(initial_params(program, training.seed))
    dtype = DTYPES[training.precision]
    losses = [np.zeros(0)]
    device = find_device(training.device)
    length = items_at_once(program.config, training, memory(device))
    with using(device, training.precision):
        data = None if on_disk(x) else to_array(x, dtype)
        pairs = None if a is None or on_disk(x) else to_array(a, dtype)
        pair = build(program, state.params, dtype)
        axes = item_axes(program.config, training)
        make = partial(make_loss, pair, training)
        run = _compiled(
            value_and_gradient(make, len(x), training.batch_size, length, axes), data, pairs
        )
        carry = (pair.params, _moments(state, dtype))
        plan = chunks(program.config, training, len(x), matched, state.step)
        for chunk in with_batches(plan, x, a):
            carry, values = run(carry, _inputs(chunk, training.seed, dtype))
            losses.append(np.asarray(values, np.float64) / len(x))
            if progress:
                progress(chunk.first + len(chunk.rates), losses[-1])
        return Fit(_state(*carry, training.steps), np.concatenate(losses))


def _compiled(
    value_and_gradient: ValueAndGradient, data: Array | None, pairs: Array | None
) -> Callable[[Any, Any], Any]:
    """One chunk of steps as one compiled loop: `(carry, inputs) -> (carry, losses)`.

    Without `data`, a step's inputs hold its mini-batch in place of its indices.
    """
    adam = optax.scale_by_adam()

    def step(carry: Any, inputs: tuple[Array, Any, Array, dict[str, Array]]) -> tuple[Any, Array]:
        params, moments = carry
        key, items, rate, noise = inputs
        if data is not None:
            items = data[items], None if pairs is None else pairs[:, items]
        value, gradient = value_and_gradient(params, key, *items, noise)
        direction, moments = adam.update(gradient, moments)
        params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
        return (params, moments), value

    @jax.jit
    def run(carry: Any, inputs: Any) -> tuple[Any, Array]:
        return lax.scan(step, carry, inputs)

    return run


def _inputs(
    chunk: Chunk, seed: int, dtype: jnp.dtype
) -> tuple[Array, Any, Array, dict[str, Array]]:
    steps = np.arange(chunk.first, chunk.first + len(chunk.rates))
    keys = jax.vmap(random.fold_in, (None, 0))(random.key(seed), steps)
    noise = {name: to_array(values, dtype) for name, values in chunk.noise.items()}
    items: Any = jnp.asarray(chunk.indices)
    if chunk.x is not None:
        items = to_array(chunk.x, dtype), None if chunk.a is None else to_array(chunk.a, dtype)
    return keys, items, to_array(chunk.rates, dtype), noise


def _moments(state: TrainingState, dtype: jnp.dtype) -> optax.ScaleByAdamState:
    count = jnp.asarray(state.step, jnp.int32)
    return optax.ScaleByAdamState(
        count, to_native(state.mean, dtype), to_native(state.variance, dtype)
    )


def _state(params: Any, moments: optax.ScaleByAdamState, step: int) -> TrainingState:
    return TrainingState(to_neutral(params), to_neutral(moments.mu), to_neutral(moments.nu), step)
