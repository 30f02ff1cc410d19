"""The steps of a chunk as one compiled loop on the device: what goes in, what is carried, what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import optax
from jax import Array, lax, random

from numpyro_impl.compilation_cache import kept_compilations
from numpyro_impl.compiled.clipping import Sizes, clip
from numpyro_impl.compiled.steps import finite_numbers
from numpyro_impl.device import DTYPES
from numpyro_impl.objectives.item_blocks import ValueAndGradient, value_and_gradient
from numpyro_impl.objectives.losses import make_loss
from numpyro_impl.programs.assembly import build
from numpyro_impl.programs.parameters import ENCODER, NativeParams, nested
from numpyro_impl.training.carry import Carry
from numpyro_impl.training.compiling import compile_options
from numpyro_impl.training.placement import OneDevice
from twinplate.programs.config import TrainingConfig
from twinplate.training.net import Attempt
from twinplate.training.plan import AVERAGED, Chunk, average_weight, step_noise_shapes
from twinplate.training.preparation import Preparation
from twinplate.training.step_size import CLIP, rate_shares


class Inputs(NamedTuple):
    """What the steps of a chunk are given besides the data.

    key: of the run.  indices: (steps, B), rows of the data.  rates: (steps,), learning rates.
    noise: base noise by site, (steps, P, ...), where the chunk brings it.
    """

    key: Array
    indices: Array
    rates: Array
    noise: dict[str, Array]


class Span(NamedTuple):
    """Which steps of a run a chunk takes: `length` of them from `first` on.

    The arrays of its `Inputs` may be longer than that; what is left over is not looked at.
    """

    first: Array
    length: Array


Reached = tuple[Carry, Sizes, Array]  # by a step, with the losses so far


class Results(NamedTuple):
    """What a chunk says on the host besides its carry.

    losses: (steps,).  finite: whether all of the losses and the carry is.
    largest, at: (L,), how many times its usual size each gradient of the encoder's was at most, and the
        step of that.
    """

    losses: Any
    finite: Any
    largest: Any
    at: Any


def make_loop(
    value_and_gradient: ValueAndGradient,
    training: TrainingConfig,
    shapes: dict[str, tuple[int, ...]],
    shares: NativeParams,
    placement: OneDevice,
) -> Callable[..., tuple[Carry, Results]]:
    """`loop(carry, inputs, span, data, pairs)`, which takes the steps of a chunk, for JAX to compile.

    It returns the carry and the `Results` of the chunk, its losses those of the sum over items.

    shares: of the learning rate, for each parameter.
    shapes: of the base noise of one particle by site. Noise that the chunk does not bring is drawn from
        one key for each site and step. All keys are derived before the loop, in one vectorised call:
        inside it, the handlers would derive them one by one in every step.
    placement: where the items of a mini-batch are.
    """
    adam = optax.scale_by_adam()

    def loop(
        carry: Carry, inputs: Inputs, span: Span, data: Array, pairs: Array | None
    ) -> tuple[Carry, Results]:
        def step(i: Array, reached: Reached) -> Reached:
            carry, sizes, losses = reached
            keys, indices, rate, noise = jax.tree.map(itemgetter(i), each)
            for name, key in keys.items():
                shape = (training.particles, *shapes[name])
                noise = {**noise, name: random.normal(key, shape, data.dtype)}
            x, a = placement.batch(i, indices, data, pairs)
            noise = placement.noise(noise)
            value, gradient = value_and_gradient(carry.params, inputs.key, x, a, noise)
            of_encoder, sizes = clip(gradient[ENCODER], sizes, CLIP)
            gradient = {**gradient, ENCODER: of_encoder}
            direction, moments = adam.update(gradient, carry.moments)
            params = jax.tree.map(
                lambda p, d, share: p - rate * share * d, carry.params, direction, shares
            )
            return Carry(params, moments, carry.average), sizes, losses.at[i].set(value)

        def stretch(reached: tuple[Array, Reached]) -> tuple[Array, Reached]:
            """All steps until the average takes parameters in, or the chunk ends.

            An inner loop of these steps alone: the average costs nothing in steps that leave it as it is.
            """
            i, now = reached
            due = i + AVERAGED - (span.first + i - 1) % AVERAGED
            stop = jnp.minimum(due, span.length)
            carry, sizes, losses = lax.fori_loop(i, stop, step, now)
            weight = jnp.asarray(average_weight(span.first + stop), data.dtype)
            average = jax.tree.map(lambda a, p: a + weight * (p - a), carry.average, carry.params)
            return stop, (carry._replace(average=average), sizes, losses)

        sites = [name for name in sorted(shapes) if name not in inputs.noise]
        keys = _step_keys(inputs, span.first, sites)
        each = keys, inputs.indices, inputs.rates, inputs.noise
        # From the moments, so that the state of a run need not hold it: chunks begin at the same steps
        # whether or not a run was interrupted.
        sizes = Sizes.of_moments(carry.moments.nu[ENCODER], span.first)
        start = jnp.zeros_like(span.length), (carry, sizes, jnp.zeros_like(inputs.rates))
        _, now = lax.while_loop(lambda reached: reached[0] < span.length, stretch, start)
        carry, sizes, losses = now
        finite = finite_numbers((losses, carry)).all()
        return carry, Results(losses, finite, sizes.largest, sizes.at)

    return loop


def _step_keys(inputs: Inputs, first: Array, sites: list[str]) -> dict[str, Array]:
    """Keys (steps,) of each site, derived from the run's key, the number of the site and that of the step.

    They depend on no other step, so that a run that is continued draws what an uninterrupted one draws.
    """
    steps = first + jnp.arange(len(inputs.rates))
    of_site = {name: random.fold_in(inputs.key, number) for number, name in enumerate(sites)}
    return {name: jax.vmap(random.fold_in, (None, 0))(key, steps) for name, key in of_site.items()}


def to_inputs(chunk: Chunk, key: Array, dtype: jnp.dtype, length: int) -> Inputs:
    """What `chunk` brings, for the run of `key`, filled up to `length` steps with zeros.

    With arrays of one length, chunks of all lengths are one compiled program: also the last chunk of a run,
    and the parts of a chunk that are taken again after an error. The arrays are NumPy's, since a compiled
    function takes them to the device in less time than JAX by itself.
    """

    def filled(values: np.ndarray, dtype: Any) -> Any:
        more = max(length - len(values), 0)
        values = np.asarray(values, dtype)
        return np.concatenate([values, np.zeros((more, *values.shape[1:]), dtype)])

    noise = {name: filled(values, dtype) for name, values in chunk.noise.items()}
    return Inputs(key, filled(chunk.places, np.int32), filled(chunk.rates, dtype), noise)


def to_span(chunk: Chunk) -> Any:
    """Which steps `chunk` takes."""
    return Span(*np.array([chunk.first, len(chunk.rates)], np.int32))


def to_attempt(results: Results, run: Preparation) -> Attempt:
    """The results of one fit, per item."""
    names = jax.tree.leaves(nested({name: name for name in run.state.params})[ENCODER])
    losses = np.asarray(results.losses, np.float64) / len(run.x)
    return Attempt.of(losses, bool(results.finite), names, results.largest, results.at)


class CompiledLoop:
    """The loop over a chunk's steps, compiled on first use for each estimator and length of the inputs.

    `loop(chunk, carry, inputs, data, pairs)` gives away the buffers of `carry` and returns what the
    loop of `make_loop` does, the results on the host, with the losses of the chunk's steps alone.

    prepared: the run, or one of the R runs that are taken side by side.
    placement: where the data of the run are.
    fits: R, for a loop over a leading dim of R fits in `carry` and `inputs`, and in the data where
        chunks bring them along; they share the memory. None for a single fit, without that dim.
    compile_seconds: spent so far on tracing and compiling.
    items_at_once: of a mini-batch, that a fit takes.
    """

    def __init__(
        self,
        prepared: Preparation,
        placement: OneDevice,
        fits: int | None = None,
    ) -> None:
        self.compile_seconds = 0.0
        self._prepared, self._training, self._fits = prepared, prepared.training, fits
        self._placement = placement
        self.items_at_once = prepared.items_at_once(placement.memory // (fits or 1))
        self._compiled: dict[tuple[str, Any], Callable[..., tuple[Carry, Results]]] = {}

    def __call__(
        self, chunk: Chunk, carry: Carry, inputs: Inputs, data: Array, pairs: Array | None
    ) -> tuple[Carry, Results]:
        arguments = carry, inputs, to_span(chunk), data, pairs
        key = chunk.estimator, (inputs.indices.shape, data.shape)
        if key not in self._compiled:
            started = time.perf_counter()
            with kept_compilations(), numpyro.validation_enabled(False):
                program = self._prepared.program
                shapes = step_noise_shapes(program.config, self._training)
                objective = self._objective(chunk.estimator)
                shares = nested(rate_shares(program))
                loop = make_loop(objective, self._training, shapes, shares, self._placement)
                if self._fits is not None:
                    axis = None if chunk.x is None else 0
                    loop = jax.vmap(loop, (0, 0, None, axis, axis))
                options = compile_options(self._prepared, self._fits or 1, self._placement.device)
                self._compiled[key] = self._placement.compiled(loop, options, *arguments)
            self.compile_seconds += time.perf_counter() - started
        carry, found = self._compiled[key](*arguments)
        results = Results(*jax.device_get(found))
        return carry, results._replace(losses=results.losses[..., : len(chunk.rates)])

    def _objective(self, estimator: str) -> ValueAndGradient:
        run, dtype = self._prepared, DTYPES[self._training.precision]
        pair = build(run.program, run.state.params, dtype, run.complete)
        loss = make_loss(pair, replace(self._training, estimator=estimator), len(run.x))
        batch_size = self._training.batch_size
        return value_and_gradient(loss, batch_size, self.items_at_once, run.item_axes)
