"""The starts of `guide_starts.py` in NumPyro, all of a model in one compiled loop."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import nnx
from guide_starts_models import make_model
from numpyro.infer import SVI, Trace_ELBO

from numpyro_impl import AutoAmortizedNormal, items_first

HIDDEN = 32


def run(
    name: str, x: np.ndarray, starts: int, steps: int, batch_size: int, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Losses (starts, steps), and whether all parameters of each start are finite at the end."""
    jax.clear_caches()  # a process may not map the code of many models at once
    model = make_model(name, numpyro, dist, jnp, jnp.asarray, items_first)
    data = jnp.asarray(x, jnp.float32)
    svi, states = None, []
    for seed in range(starts):
        rngs = nnx.Rngs(seed)
        layers = [nnx.Linear(x.shape[1], HIDDEN, rngs=rngs), nnx.silu]
        encoder = nnx.Sequential(*layers, nnx.Linear(HIDDEN, HIDDEN, rngs=rngs), nnx.silu)
        guide = AutoAmortizedNormal(model, "items", encoder)
        svi = SVI(model, guide, numpyro.optim.Adam(rate), Trace_ELBO())
        states.append(svi.init(jax.random.key(seed), data, batch_size=batch_size))
    assert svi is not None
    known: Any = svi

    def step(state: Any, _: None) -> Any:
        return known.update(state, data, batch_size=batch_size)

    @jax.jit
    @jax.vmap
    def loop(state: Any) -> Any:
        state, losses = jax.lax.scan(step, state, None, steps)
        leaves = jax.tree.leaves(known.get_params(state))
        return losses, jnp.array([jnp.isfinite(leaf).all() for leaf in leaves]).all()

    losses, finite = loop(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    return np.asarray(losses, np.float64), np.asarray(finite)
