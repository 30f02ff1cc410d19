"""Fit a program: mini-batches, Adam under a cosine schedule, losses per item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax, random

from numpyro_impl.device import DTYPES, find_device, to_array, using
from numpyro_impl.objectives import Loss, make_loss
from numpyro_impl.pairs import build
from numpyro_impl.params import to_native, to_neutral
from twinplate.config import TrainingConfig
from twinplate.program import Program, initial_params
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
    with using(find_device(training.device), training.precision):
        data = to_array(x, dtype)
        pairs = None if a is None else to_array(a, dtype)
        pair = build(program, state.params, dtype)
        run = _compiled(make_loss(pair, training, len(x)), data, pairs)
        carry = (pair.params, _moments(state, dtype))
        for chunk in chunks(program.config, training, len(x), matched, state.step):
            carry, values = run(carry, _inputs(chunk, training.seed, dtype))
            losses.append(np.asarray(values, np.float64) / len(x))
            if progress:
                progress(chunk.first + len(chunk.rates), losses[-1])
        return Fit(_state(*carry, training.steps), np.concatenate(losses))


def _compiled(loss: Loss, data: Array, pairs: Array | None) -> Callable[[Any, Any], Any]:
    """One chunk of steps as one compiled loop: `(carry, inputs) -> (carry, losses)`."""
    adam = optax.scale_by_adam()

    def step(carry: Any, inputs: tuple[Array, Array, Array, dict[str, Array]]) -> tuple[Any, Array]:
        params, moments = carry
        key, indices, rate, noise = inputs
        a = None if pairs is None else pairs[:, indices]
        value, gradient = jax.value_and_grad(loss)(params, key, data[indices], a, noise)
        direction, moments = adam.update(gradient, moments)
        params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
        return (params, moments), value

    @jax.jit
    def run(carry: Any, inputs: Any) -> tuple[Any, Array]:
        return lax.scan(step, carry, inputs)

    return run


def _inputs(
    chunk: Chunk, seed: int, dtype: jnp.dtype
) -> tuple[Array, Array, Array, dict[str, Array]]:
    steps = np.arange(chunk.first, chunk.first + len(chunk.rates))
    keys = jax.vmap(random.fold_in, (None, 0))(random.key(seed), steps)
    noise = {name: to_array(values, dtype) for name, values in chunk.noise.items()}
    return keys, jnp.asarray(chunk.indices), to_array(chunk.rates, dtype), noise


def _moments(state: TrainingState, dtype: jnp.dtype) -> optax.ScaleByAdamState:
    count = jnp.asarray(state.step, jnp.int32)
    return optax.ScaleByAdamState(
        count, to_native(state.mean, dtype), to_native(state.variance, dtype)
    )


def _state(params: Any, moments: optax.ScaleByAdamState, step: int) -> TrainingState:
    return TrainingState(to_neutral(params), to_neutral(moments.mu), to_neutral(moments.nu), step)
