"""Guide, model, loss and gradient of every particle, as functions that JAX can compile."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array, lax, random
from numpyro import handlers, infer
from numpyro.distributions import biject_to
from numpyro.infer.util import potential_energy

from numpyro_impl.arguments import Inputs
from numpyro_impl.programs.noise import unwrapped
from numpyro_impl.quick_compilation import compiled_quickly
from numpyro_impl.recording.operations import SITES
from numpyro_impl.recording.parameters import DeclaredParameters, declared_parameters
from numpyro_impl.recording.replay import replay_draws
from numpyro_impl.recording.sites import TracedSite, traced_sites
from twinplate.records.record import Settings

Sites = tuple[TracedSite, ...]
Arrays = dict[str, Array]

SEED = 0  # of everything that is random and not given


def zeros(shapes: Any) -> Any:
    """Arrays of these shapes, which take no memory; of keys, which NumPy does not have, JAX's."""

    def of(one: jax.ShapeDtypeStruct) -> Any:
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            return jnp.zeros(one.shape, one.dtype)
        return np.broadcast_to(np.zeros((), one.dtype), one.shape)

    return jax.tree.map(of, shapes)


class Sampled(NamedTuple):
    """Sites of guide and model; without a guide the unconstrained images of the latent values."""

    guide: Sites
    model: Sites
    images: Arrays


class Executed(NamedTuple):
    """A run: its sites, loss, gradient of the parameters and of the images."""

    sampled: Sampled
    loss: Array
    gradient: Arrays
    image_gradient: Arrays


class Execution:
    """A built program and how to run it. `traces` and `stage` say how far the last run got.

    compiled: whether its functions are traced by JAX, or run operation by operation.
    """

    def __init__(self, settings: Settings, compiled: bool) -> None:
        self.model: Any = None
        self.guide: Any = None
        self.settings = settings
        self.compiled = compiled
        self.parameters: DeclaredParameters | None = None
        self.traces: dict[str, dict[str, Any]] = {}
        self.stage = "build"

    def find_parameters(
        self, key: Array, inputs: Inputs, precision: str, compiled: bool, given: Collection[str]
    ) -> None:
        """Find the parameters and their first values.

        Compiled, what the values do not depend on is dropped, which is much faster; but a guide that
        keeps arrays from its first run may not survive it. given: names of parameters whose values are
        known: where these are all, nothing is computed, and their first values are zeros.
        """
        found: list[DeclaredParameters] = []

        def values(key: Array, inputs: Inputs) -> Any:
            self.program({}, key, {}, {}, inputs)
            found.append(declared_parameters(self.traces, precision))
            return found[-1].trees, found[-1].state

        if not compiled:
            trees, state = values(key, inputs)
            self.parameters = replace(found[-1], trees=trees, state=state)
            return
        traced = compiled_quickly(values).trace(key, inputs)
        trees, state = zeros(traced.out_info)
        self.parameters = replace(found[-1], trees=trees, state=state)
        if state or not self.parameters.are_all_in(given):
            trees, state = traced.lower().compile()(key, inputs)
            self.parameters = replace(found[-1], trees=trees, state=state)

    def draw(
        self, flat: Arrays, key: Array, draws: Arrays, indices: Arrays, inputs: Inputs
    ) -> Sampled:
        """Every particle's own draws, where `draws` has none."""
        return self._map(
            lambda given: self._program(flat, given[0], given[1], indices, inputs), (key, draws)
        )

    def run(
        self, flat: Arrays, key: Array, draws: Arrays, indices: Arrays, inputs: Inputs
    ) -> Executed:
        """All particles with given draws."""

        def particle(given: tuple[Array, Arrays]) -> Executed:
            sampled = self._program(flat, *given, indices, inputs)
            self.stage = "loss"
            if self.guide is None:
                return Executed(
                    sampled, *self._potential(flat, sampled.images, given[0], indices, inputs)
                )
            loss, gradient = jax.value_and_grad(self._loss)(flat, *given, indices, inputs)
            return Executed(sampled, loss, gradient, {})

        executed: Executed = self._map(particle, (key, draws))
        loss, gradient = executed.loss, jax.tree.map(lambda g: g.mean(0), executed.gradient)
        if self._takes_all_particles and self.guide is not None:
            loss, gradient = jax.value_and_grad(self._vectorised)(flat, key, draws, indices, inputs)
            loss = loss[None]
        assert self.parameters is not None
        return Executed(
            executed.sampled,
            loss,
            self.parameters.gradients(flat, gradient),
            jax.tree.map(lambda g: g / self.settings.particles, executed.image_gradient),
        )

    def program(
        self, flat: Arrays, key: Array, draws: Arrays, indices: Arrays, inputs: Inputs
    ) -> None:
        """Run guide and model once and keep their traces."""
        args, kwargs = inputs.arguments()
        self.traces, self.stage = {}, "guide"
        model_key, guide_key = random.split(key)
        with replay_draws(draws, indices), handlers.substitute(data=self._params(flat)):
            with handlers.trace() as guide, handlers.seed(rng_seed=guide_key):
                self.traces["guide"] = guide
                if self.guide is not None:
                    self.guide(*args, **kwargs)
            self.stage = "model"
            program = handlers.seed(self.model, model_key)
            if self.guide is not None:
                program = handlers.replay(program, trace=guide)
            with handlers.trace() as model:
                self.traces["model"] = model
                program(*args, **kwargs)

    def _program(self, *given: Any) -> Sampled:
        def traced_program(*given: Any) -> Sampled:
            self.program(*given)
            guide, model = self.traces["guide"], self.traces["model"]
            images = {} if self.guide is not None else _images(model)
            return Sampled(traced_sites(guide), traced_sites(model), images)

        traced_program.__name__ = SITES
        return (jax.jit(traced_program) if self.compiled else traced_program)(*given)

    def _loss(
        self, flat: Arrays, key: Array, draws: Arrays, indices: Arrays, inputs: Inputs
    ) -> Array:
        args, kwargs = inputs.arguments()
        with replay_draws(draws, indices):
            elbo = self._elbo(1, False)
            return elbo.loss(key, self._params(flat), self.model, self.guide, *args, **kwargs)

    @property
    def _takes_all_particles(self) -> bool:
        """Whether the loss is one number of all particles: Rényi's bound is, of vectorised ones or not."""
        return self.settings.vectorize_particles or self.settings.loss == "RenyiELBO"

    def _elbo(self, particles: int, mapped: Any) -> Any:
        """The framework's own loss. mapped: how it maps a function over the particles."""
        if self.settings.loss == "RenyiELBO":
            bound = infer.RenyiELBO(self.settings.alpha, particles)
            bound.vectorize_particles_fn = bound._assign_vectorize_particles_fn(mapped)
            return bound
        loss = getattr(infer, self.settings.loss)
        return loss(num_particles=particles, vectorize_particles=mapped)

    def _vectorised(
        self, flat: Arrays, keys: Array, draws: Arrays, indices: Arrays, inputs: Inputs
    ) -> Array:
        """The framework's own vectorised loss; the draws travel with its random keys."""
        args, kwargs = inputs.arguments()

        def mapped(function: Callable[[Array], Any], keys: Array) -> Any:
            def one(key: Array, rows: Arrays) -> Any:
                with replay_draws(rows, indices):
                    return function(key)

            return jax.vmap(one)(keys, draws)

        if self.settings.particles == 1:
            return self._loss(flat, keys[0], _row(draws, 0), indices, inputs)
        elbo = self._elbo(self.settings.particles, mapped)
        return elbo.loss(keys[0], self._params(flat), self.model, self.guide, *args, **kwargs)

    def _potential(
        self, flat: Arrays, images: Arrays, key: Array, indices: Arrays, inputs: Inputs
    ) -> tuple[Array, Arrays, Arrays]:
        """Potential energy with its gradients in parameters and images; discrete latents summed over."""
        args, kwargs = inputs.arguments()
        trace = self.traces["model"]
        summed = any(_is_discrete_latent(node) for node in trace.values())

        def potential(flat: Arrays, images: Arrays) -> Array:
            model = handlers.seed(handlers.substitute(self.model, data=self._params(flat)), key)
            model = _enumerated(model, trace) if summed else model
            with replay_draws({}, indices):
                return potential_energy(model, args, kwargs, images, enum=summed)

        loss, gradients = jax.value_and_grad(potential, argnums=(0, 1))(flat, images)
        return loss, *gradients

    def _params(self, flat: Arrays) -> dict[str, Any]:
        if self.parameters is None:
            return {}
        return {**self.parameters.unflatten(flat), **self.parameters.state}

    def _map(self, function: Callable[[Any], Any], values: Any) -> Any:
        """`function` of every particle, one after the other."""
        if self.compiled and self.settings.particles > 1:
            return lax.map(function, values)
        results = [function(_row(values, p)) for p in range(self.settings.particles)]
        return jax.tree.map(lambda *x: jnp.stack(x), *results)


def _row(tree: Any, p: int) -> Any:
    return jax.tree.map(lambda x: x[p], tree)


def _images(trace: dict[str, Any]) -> Arrays:
    """Unconstrained values of the latent sites that a sampler would move."""
    return {
        name: biject_to(node["fn"].support).inv(node["value"])
        for name, node in trace.items()
        if node["type"] == "sample"
        and not node["is_observed"]
        and not node["fn"].support.is_discrete
        and not isinstance(unwrapped(node["fn"]), dist.Delta)
    }


def _is_discrete_latent(node: dict[str, Any]) -> bool:
    return node["type"] == "sample" and not node["is_observed"] and node["fn"].support.is_discrete


def _enumerated(model: Any, trace: dict[str, Any]) -> Any:
    from numpyro.contrib.funsor import config_enumerate, enum

    nesting = max(
        (len(n["fn"].batch_shape) for n in trace.values() if n["type"] == "sample"), default=0
    )
    return enum(config_enumerate(model), -nesting - 1)
