"""The steps of a chunk as one compiled loop on the device: what goes in, what is carried, what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import optax
from jax import Array, lax, random

from numpyro_impl.compilations import kept_compilations
from numpyro_impl.device import DTYPES, find_device, memory, to_array
from numpyro_impl.item_blocks import ValueAndGradient, value_and_gradient
from numpyro_impl.noise import key_of
from numpyro_impl.objectives import make_loss
from numpyro_impl.pairs import build
from numpyro_impl.params import NativeParams, to_native, to_neutral
from twinplate.config import TrainingConfig
from twinplate.memory import item_axes, items_at_once
from twinplate.program import Program, initial_params
from twinplate.training import Chunk, TrainingState, step_noise_shapes


class Carry(NamedTuple):
    """What the steps hand on: native parameters and Adam's moments."""

    params: NativeParams
    moments: optax.ScaleByAdamState


class Inputs(NamedTuple):
    """A chunk on the device: the run's key, the first step, indices, learning rates and base noise."""

    key: Array
    first: Array
    indices: Array
    rates: Array
    noise: dict[str, Array]


def make_loop(
    value_and_gradient: ValueAndGradient,
    training: TrainingConfig,
    shapes: dict[str, tuple[int, ...]],
) -> Callable[..., tuple[Carry, Array, Array]]:
    """`loop(carry, inputs, data, pairs)`: all steps of a chunk; the carry, losses, whether all are finite.

    Noise that the chunk does not bring is drawn, with the given shapes: one key per site and step,
    derived for all steps at once, which leaves nothing for the handlers inside the loop to derive.
    """
    adam = optax.scale_by_adam()

    def loop(carry: Carry, inputs: Inputs, data: Array, pairs: Array | None) -> Any:
        def step(carry: Carry, now: tuple[Any, Array, Array, dict[str, Array]]) -> Any:
            keys, indices, rate, noise = now
            a = None if pairs is None else pairs[:, indices]
            for name, key in keys.items():
                shape = (training.particles, *shapes[name])
                noise = {**noise, name: random.normal(key, shape, data.dtype)}
            value, gradient = value_and_gradient(carry.params, inputs.key, data[indices], a, noise)
            direction, moments = adam.update(gradient, carry.moments)
            params = jax.tree.map(lambda p, d: p - rate * d, carry.params, direction)
            return Carry(params, moments), value

        keys = _step_keys(inputs, [name for name in sorted(shapes) if name not in inputs.noise])
        carry, losses = lax.scan(step, carry, (keys, inputs.indices, inputs.rates, inputs.noise))
        leaves = [losses, *jax.tree.leaves(carry)]
        return carry, losses, jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]))

    return loop


def _step_keys(inputs: Inputs, sites: list[str]) -> dict[str, Array]:
    """A key for each site and step, (steps,): derived from the run's key, the site's number and the step."""
    steps = inputs.first + jnp.arange(len(inputs.rates))
    of_site = {name: random.fold_in(inputs.key, number) for number, name in enumerate(sites)}
    return {name: jax.vmap(random.fold_in, (None, 0))(key, steps) for name, key in of_site.items()}


def to_inputs(chunk: Chunk, seed: int, dtype: jnp.dtype) -> Inputs:
    """The chunk of the run of `seed`, on the device."""
    noise = {name: to_array(values, dtype) for name, values in chunk.noise.items()}
    indices = jnp.asarray(chunk.places, jnp.int32)
    first = jnp.asarray(chunk.first, jnp.int32)
    return Inputs(key_of(seed), first, indices, to_array(chunk.rates, dtype), noise)


def to_carry(state: TrainingState, dtype: jnp.dtype) -> Carry:
    """The state in native form."""
    count = jnp.asarray(state.step, jnp.int32)
    moments = (to_native(values, dtype) for values in (state.mean, state.variance))
    return Carry(to_native(state.params, dtype), optax.ScaleByAdamState(count, *moments))


def to_state(carry: Carry) -> TrainingState:
    """The inverse of `to_carry`."""
    moments = carry.moments
    mean, variance = to_neutral(moments.mu), to_neutral(moments.nu)
    return TrainingState(to_neutral(carry.params), mean, variance, int(moments.count))


class CompiledLoop:
    """The loop over a chunk's steps, compiled on first use for each estimator and length.

    `loop(chunk, carry, inputs, data, pairs)` gives away the buffers of `carry` and returns what the
    loop of `make_loop` does. fits: R, for a loop over a leading dim of R fits in `carry` and `inputs`, and
    in the data where chunks bring them along; they share the memory.  `compile_seconds`: spent so far on
    tracing and compiling.  `items_at_once`: of a mini-batch, that a fit takes.
    """

    def __init__(
        self,
        program: Program,
        training: TrainingConfig,
        num_items: int,
        complete: bool,
        fits: int | None = None,
    ) -> None:
        self.compile_seconds = 0.0
        self._program, self._training, self._num_items = program, training, num_items
        self._complete, self._fits = complete, fits
        share = memory(find_device(training.device)) // (fits or 1)
        self.items_at_once = items_at_once(program.config, training, share)
        self._compiled: dict[tuple[str, int], Callable[..., tuple[Carry, Array, Array]]] = {}

    def __call__(self, chunk: Chunk, *arguments: Any) -> tuple[Carry, Array, Array]:
        key = chunk.estimator, len(chunk.rates)
        if key not in self._compiled:
            started = time.perf_counter()
            shapes = step_noise_shapes(self._program.config, self._training)
            loop = make_loop(self._objective(chunk.estimator), self._training, shapes)
            if self._fits is not None:
                data = None if chunk.x is None else 0
                loop = jax.vmap(loop, (0, 0, data, data))
            with kept_compilations(), numpyro.validation_enabled(False):
                self._compiled[key] = jax.jit(loop, donate_argnums=0).lower(*arguments).compile()
            self.compile_seconds += time.perf_counter() - started
        return self._compiled[key](*arguments)

    def _objective(self, estimator: str) -> ValueAndGradient:
        first = initial_params(self._program, self._training.seed)
        pair = build(self._program, first, DTYPES[self._training.precision], self._complete)
        loss = make_loss(pair, replace(self._training, estimator=estimator), self._num_items)
        return value_and_gradient(
            loss,
            self._training.batch_size,
            self.items_at_once,
            item_axes(self._program.config, self._training),
        )
