"""The textbook recipe in NumPyro, as `twinplate bench` times it beside the shipped training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import nnx
from jax import Array, lax, random
from numpyro import infer
from numpyro.contrib.module import nnx_module

from numpyro_impl.bench import handwritten
from numpyro_impl.device import to_array
from numpyro_impl.programs.assembly import build
from numpyro_impl.programs.encoder import Encoder
from numpyro_impl.programs.guides import components_first
from numpyro_impl.programs.models import mini_batch
from numpyro_impl.programs.noise import base_noise
from numpyro_impl.programs.parameters import to_neutral
from twinplate.bench.workload import SEED, Workload
from twinplate.programs.program import Params
from twinplate.training.plan import Chunk


class _Network(Encoder):
    """The shipped encoder up to its numbers: loc (B, K) and flat (B, K (K + 1) / 2)."""

    def __call__(self, x: Array) -> tuple[Array, Array]:  # type: ignore[override]
        features, missing = self.inputs(x)
        flat = self.network(features, missing)
        k = self.program.config.num_components
        return flat[:, :k] + self.skip(features), flat[:, k:]


class Stock:
    """The textbook recipe: NumPyro's own MultivariateNormal, `SVI.update` in a compiled loop.

    form: of the triangle, "scatter" or "filled".  rate: a number, or a function of the step;
    by default the workload's.
    """

    def __init__(
        self, work: Workload, form: str = "scatter", rate: float | Callable[..., Any] | None = None
    ) -> None:
        k, n = work.size.num_components, work.size.num_items
        network: nnx.Module = _Network(work.program, complete=True)
        fill = {"scatter": handwritten.scatter, "filled": handwritten.filled}[form]
        pair = build(work.program, work.params, complete=True)

        def guide(x: Array, num_items: int | None = None) -> None:
            loc, flat = nnx_module("encoder", network)(x)
            with mini_batch(x, num_items):
                joint = dist.MultivariateNormal(loc, scale_tril=fill(flat, k))
                a_aux = numpyro.sample("a_aux", joint, infer={"is_auxiliary": True})
                with numpyro.plate("components", k, dim=-2):
                    numpyro.sample("a", dist.Delta(components_first(a_aux)))

        adam = numpyro.optim.Adam(work.rate if rate is None else rate)
        self._svi = infer.SVI(pair.model, guide, adam, infer.Trace_ELBO())
        self._data, self._num_items = to_array(work.x, jnp.float32), n
        first = {"encoder$params": handwritten.encoder_params(work, form)}
        batch = self._data[: work.size.batch_size]
        self._state = self._svi.init(random.key(SEED), batch, init_params=first, num_items=n)
        self._loop = jax.jit(self._steps, donate_argnums=1)

    @property
    def params(self) -> Params:
        """The present parameters, in the neutral layout; the last layer in the order of the form."""
        return to_neutral(self._svi.get_params(self._state))

    def run(self, chunk: Chunk) -> np.ndarray:
        """Take the steps of `chunk`, at this recipe's own rate; losses per item (steps,)."""
        noise = {name: to_array(values[:, 0], jnp.float32) for name, values in chunk.noise.items()}
        indices = jnp.asarray(chunk.indices)
        self._state, losses = self._loop(self._data, self._state, indices, noise)
        return np.asarray(losses, np.float64) / self._num_items

    def _steps(self, data: Array, state: Any, indices: Array, noise: dict[str, Array]) -> Any:
        def step(state: Any, inputs: Any) -> Any:
            rows, given = inputs
            with base_noise(given):
                return self._svi.update(state, data[rows], num_items=self._num_items)

        return lax.scan(step, state, (indices, noise))
