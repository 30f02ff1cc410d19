"""The programs of `amortised.py` in NumPyro: models, a guide by hand, the automatic ones, their training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from amortised_problems import CONTRAST, NOISE, Problem
from flax import nnx
from numpyro.contrib.module import nnx_module
from numpyro.infer import SVI, Trace_ELBO, autoguide
from numpyro.optim import optax_to_numpyro

from numpyro_impl import AutoAmortizedNormal, MultivariateNormal, components_first, items_first

HIDDEN = 32
PEERS = {  # automatic guides of NumPyro, and whether they take mini-batches
    "AutoNormal": True,
    "AutoMultivariateNormal": False,
    "AutoLowRankMultivariateNormal": False,
    "AutoBatchedMultivariateNormal": False,
    "AutoSemiDAIS": True,
}


def make_model(problem: Problem) -> Any:
    """The model, of all data and the size of a mini-batch."""
    loadings, intercept = (
        jnp.asarray(v, jnp.float32) for v in (problem.loadings, problem.intercept)
    )
    k, kind = loadings.shape[1], problem.model

    def model(x: Any, inputs: Any, library: Any, batch_size: int | None = None) -> None:
        with numpyro.plate("mini_batch", len(x), subsample_size=batch_size, dim=-1):
            x, library = numpyro.subsample(x, event_dim=1), numpyro.subsample(library, event_dim=0)
            if kind == "event":
                a = numpyro.sample("a", dist.Normal(jnp.zeros(k), 1.0).to_event(1))
            else:
                with numpyro.plate("components", k, dim=-2):
                    a = items_first(numpyro.sample("a", dist.Normal(0.0, 1.0)))
            mean = a @ loadings.mT + intercept
            if kind == "contrast":
                mean = numpyro.sample("contrast", dist.LogNormal(0.0, CONTRAST))[..., None] * mean
            if kind == "counts":
                data = dist.Poisson(library[..., None] * jnp.exp(mean))
            else:
                data = dist.Normal(mean, NOISE)
            numpyro.sample("x", data.to_event(1), obs=x)

    return model


def hidden_layers(width: int, hidden: int, *last: Any) -> nnx.Sequential:
    """From the inputs to features, and through `last`."""
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(width, hidden, rngs=rngs), nnx.silu]
    return nnx.Sequential(*layers, nnx.Linear(hidden, hidden, rngs=rngs), nnx.silu, *last)


def by_hand(problem: Problem, hidden: int) -> Any:
    """One normal per item, as one writes it: a network, a triangle, an auxiliary site, Deltas."""
    d, k = problem.loadings.shape
    size = k + (problem.model == "contrast")
    triangle = size * (size - 1) // 2
    rows, columns = jnp.tril_indices(size, -1)
    small = nnx.initializers.normal(0.01)
    last = nnx.Linear(hidden, size + triangle + size, kernel_init=small, rngs=nnx.Rngs(1))
    net = hidden_layers(d, hidden, last)

    def guide(x: Any, inputs: Any, library: Any, batch_size: int | None = None) -> None:
        apply = nnx_module("net", net)
        with numpyro.plate("mini_batch", len(x), subsample_size=batch_size, dim=-1):
            out = apply(numpyro.subsample(inputs, event_dim=1))
            loc, below, log_diagonal = jnp.split(out, [size, size + triangle], axis=-1)
            scale_tril = jnp.exp(log_diagonal)[..., None] * jnp.eye(size)
            scale_tril = scale_tril.at[..., rows, columns].set(below)
            joint = MultivariateNormal(loc, scale_tril=scale_tril)
            z = numpyro.sample("z", joint, infer={"is_auxiliary": True})
            if problem.model == "event":
                numpyro.sample("a", dist.Delta(z, event_dim=1))
                return
            with numpyro.plate("components", k, dim=-2):
                numpyro.sample("a", dist.Delta(components_first(z[..., :k])))
            if problem.model == "contrast":
                log_contrast = z[..., k]
                numpyro.sample(
                    "contrast", dist.Delta(jnp.exp(log_contrast), log_density=-log_contrast)
                )

    return guide


def automatic(guide: str, model: Any) -> Any:
    """A guide of NumPyro."""
    if guide == "AutoSemiDAIS":  # everything is local
        return autoguide.AutoSemiDAIS(model, model, subsample_plate="mini_batch")
    if guide == "AutoBatchedMultivariateNormal":
        return autoguide.AutoBatchedMultivariateNormal(model, batch_ndim=1)
    return getattr(autoguide, guide)(model)


class Run:
    """A guide in training, in compiled loops of steps."""

    def __init__(
        self,
        problem: Problem,
        guide: str,
        rate: float,
        steps: int,
        batch_size: int,
        hidden: int = HIDDEN,
    ) -> None:
        self._data = tuple(
            jnp.asarray(v, jnp.float32) for v in (problem.x, problem.inputs, problem.library)
        )
        model = make_model(problem)
        in_batches = PEERS.get(guide, True) and batch_size < len(problem.x)
        batch = {"batch_size": batch_size} if in_batches else {}
        if guide == "by hand":
            made = by_hand(problem, hidden)
        elif guide == "ours":
            encoder = hidden_layers(problem.x.shape[1], hidden)
            made = AutoAmortizedNormal(
                model, "mini_batch", encoder, features=lambda x, inputs, *rest, **more: inputs
            )
        else:
            made = automatic(guide, model)
        adam = optax_to_numpyro(optax.adam(optax.cosine_decay_schedule(rate, steps)))
        svi = SVI(model, made, adam, Trace_ELBO())
        self._state = svi.init(jax.random.key(0), *self._data, **batch)
        self._params = svi.get_params
        if guide == "AutoSemiDAIS":  # it keeps the size of its first mini-batch
            made = automatic(guide, model)
            SVI(model, made, adam, Trace_ELBO()).init(jax.random.key(0), *self._data)
        self._programs = model, made

        def loop(state: Any, steps: Any, data: Any) -> Any:
            step = lambda _, state: svi.update(state, *data, **batch)[0]
            return jax.lax.fori_loop(0, steps, step, state)

        self._loop = jax.jit(loop).lower(self._state, 1, self._data).compile()
        self._elbo = jax.jit(self._loss, static_argnums=2)

    def _loss(self, key: Any, params: Any, particles: int, data: Any) -> Any:
        def one(key: Any) -> Any:
            return Trace_ELBO().loss(key, params, *self._programs, *data)

        return jax.lax.map(one, jax.random.split(key, particles)).mean()

    def take(self, steps: int) -> None:
        """Take so many steps."""
        self._state = jax.block_until_ready(self._loop(self._state, steps, self._data))

    def elbo(self, particles: int) -> float:
        """Of all items, nats per item."""
        loss = self._elbo(jax.random.key(1), self._params(self._state), particles, self._data)
        return -float(loss) / len(self._data[0])

    @property
    def numbers(self) -> int:
        """That are learned."""
        return sum(np.size(v) for v in jax.tree.leaves(self._params(self._state)))

    @property
    def peak_mb(self) -> float:
        """What a step allocates by XLA's plan, with parameters and moments."""
        return (self._loop.memory_analysis().temp_size_in_bytes + 12 * self.numbers) / 1e6
