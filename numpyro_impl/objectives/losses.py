"""What training minimises: the negative ELBO, or -Σ log q(a | x) on pairs.

A loss is a pure function `loss(params, key, x, a, noise)` of native parameters, a random key, a
mini-batch `x` (B, D), pairs `a` (K, B) or None, and base noise by site (`numpyro_impl.programs.noise`; empty
to draw from the key). It returns the total of all N items, estimated from the B: a scalar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from numpyro import handlers
from numpyro.infer.util import compute_log_probs

from numpyro_impl.objectives.estimators import ESTIMATORS, Trace
from numpyro_impl.programs.assembly import Pair
from numpyro_impl.programs.noise import base_noise
from numpyro_impl.programs.parameters import NativeParams
from twinplate.programs.config import TrainingConfig

Loss = Callable[[NativeParams, Array, Array, Array | None, dict[str, Array]], Array]


def make_loss(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """The loss that `training.objective` names."""
    losses = {"elbo": elbo_loss, "simulated": simulated_loss, "pairs": pairs_loss}
    return losses[training.objective](pair, training, num_items)


def elbo_loss(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """Negative ELBO by `training.estimator`, the mean over `training.particles`.

    An observed `a` is scored by both programs.
    """
    losses = particle_losses(pair, training, num_items)

    def loss(
        params: NativeParams, key: Array, x: Array, a: Array | None, noise: dict[str, Array]
    ) -> Array:
        return jnp.mean(losses(params, key, x, a, noise))

    return loss


def particle_losses(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """The negative ELBO of every particle, (P,); in one vmap, or one after the other."""
    estimate = ESTIMATORS[training.estimator]
    mapped = map_particles(training.vectorize_particles)

    def losses(
        params: NativeParams, key: Array, x: Array, a: Array | None, noise: dict[str, Array]
    ) -> Array:
        def particle(given: tuple[Array, dict[str, Array]]) -> Array:
            return -estimate(*trace_pair(pair, params, *given, x, a, num_items))

        if training.particles == 1:
            return particle((key, jax.tree.map(lambda values: values[0], noise)))[None]
        return mapped(particle, (random.split(key, training.particles), noise))

    return losses


def trace_pair(
    pair: Pair,
    params: NativeParams,
    key: Array,
    noise: dict[str, Array],
    x: Array,
    a: Array | None,
    num_items: int | None,
) -> tuple[Trace, Trace]:
    """Traces of one particle of the guide, and of the model replayed on it."""
    model_key, guide_key = random.split(key)  # as in numpyro.infer.Trace_ELBO, to draw the same
    model, guide = handlers.seed(pair.model, model_key), handlers.seed(pair.guide, guide_key)
    with base_noise(noise), handlers.substitute(data=params):
        guide_trace = handlers.trace(guide).get_trace(x, a, num_items=num_items)
        replayed = handlers.trace(handlers.replay(model, guide_trace))
        return guide_trace, replayed.get_trace(x, a, num_items=num_items)


def simulated_loss(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """-Σ log q(a, amplitude | x) on pairs drawn from the model, hidden where the mini-batch is."""

    def loss(
        params: NativeParams, key: Array, x: Array, a: Array | None, noise: dict[str, Array]
    ) -> Array:
        model = handlers.uncondition(handlers.substitute(pair.model, lax.stop_gradient(params)))
        first = jax.tree.map(lambda values: values[0], noise)
        with base_noise(first), handlers.trace() as drawn, handlers.seed(rng_seed=key):
            a = model(x, num_items=num_items)
        x = jnp.where(jnp.isnan(x), jnp.nan, drawn["x"]["value"])
        return negative_score(pair, params, key, x, a, drawn, num_items)

    return loss


def pairs_loss(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """-Σ log q(a | x) on the given pairs; a latent that is not given is not scored."""

    def loss(
        params: NativeParams, key: Array, x: Array, a: Array | None, noise: dict[str, Array]
    ) -> Array:
        return negative_score(pair, params, key, x, a, {}, num_items)

    return loss


def negative_score(
    pair: Pair,
    params: NativeParams,
    key: Array,
    x: Array,
    a: Array | None,
    drawn: dict[str, Any],
    num_items: int,
) -> Array:
    """-Σ log q, times N / B, over the sites observed: `a`, and an amplitude if `drawn` holds one."""
    known = {name: drawn[name]["value"] for name in ("amplitude",) if name in drawn}
    guide = handlers.seed(handlers.condition(pair.guide, data=known), key)
    densities, trace = compute_log_probs(guide, (x, a), {"num_items": num_items}, params)
    return -sum(densities[name] for name in densities if trace[name]["is_observed"])


def map_particles(vectorize: bool) -> Callable[[Callable[[Any], Any], Any], Any]:
    """`mapped(function, values)` over the leading axis: in one vmap, or one after the other."""
    if vectorize:
        return lambda function, values: jax.vmap(function)(values)
    return lax.map
