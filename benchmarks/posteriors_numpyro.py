"""The programs of `posteriors.py` in NumPyro: training of the joint guide, and NUTS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from flax import nnx
from numpyro.distributions import biject_to
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from posteriors_models import Model

from numpyro_impl import AutoAmortizedNormal, items_first

NAME = "numpyro"
HIDDEN, RATE = 64, 5e-3
CHAINS, WARM_UP, DRAWS = 4, 1000, 5000


def _program(model: Model) -> Any:
    return model.make(numpyro, dist, jnp, jnp.asarray, items_first)


def trained(
    model: Model, x: np.ndarray, steps: int, batch_size: int
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """From data of items to loc (N, J) and covariance (N, J, J) of the guide trained on `x`."""
    rngs, inputs = nnx.Rngs(0), model.inputs
    layers = [nnx.Linear(x.shape[1], HIDDEN, rngs=rngs), nnx.silu]
    encoder = nnx.Sequential(*layers, nnx.Linear(HIDDEN, HIDDEN, rngs=rngs), nnx.silu)
    program = _program(model)
    as_inputs = jnp.log1p if inputs is np.log1p else jnp.asarray
    guide = AutoAmortizedNormal(
        program, "items", encoder, features=lambda x, batch_size=None: as_inputs(x)
    )
    adam = optax.adam(optax.cosine_decay_schedule(RATE, steps))
    svi = SVI(program, guide, adam, Trace_ELBO(num_particles=4))
    data = jnp.asarray(x)
    fit = svi.run(jax.random.key(0), steps, data, batch_size=batch_size, progress_bar=False)

    def asked(new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        normal = guide.posterior(fit.params, jnp.asarray(new))
        return np.asarray(normal.loc), np.asarray(normal.covariance_matrix)

    return asked


def nuts(model: Model, x: np.ndarray) -> np.ndarray:
    """Draws (S, N, J) of the posterior of each item's unconstrained numbers, sites by name."""
    program = _program(model)
    sampler = MCMC(
        NUTS(program),
        num_warmup=WARM_UP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.run(jax.random.key(0), jnp.asarray(x))
    nodes = numpyro.handlers.trace(numpyro.handlers.seed(program, 0)).get_trace(jnp.asarray(x))
    columns = []
    for name, values in sorted(sampler.get_samples().items()):
        numbers = np.asarray(biject_to(nodes[name]["fn"].support).inv(values))
        if name == "a":  # (S, K, N), of a plate
            numbers = numbers.swapaxes(-1, -2)
        columns.append(numbers.reshape(len(numbers), len(x), -1))
    return np.concatenate(columns, -1)
