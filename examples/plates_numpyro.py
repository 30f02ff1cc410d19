"""Was dim=-1 for the mini-batch a bad choice, and may `a` step out of its plate? Asked of NumPyro.

    python examples/plates_numpyro.py

The guides hold the exact posterior of every item, so the loss of a right program is minus the log
evidence, whatever is drawn. A right loss is also lowest there: a narrower guide must lose.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers
from numpyro.infer import Trace_ELBO
from numpyro.util import format_shapes

from numpyro_impl import MultivariateNormal, components_first, items_first
from twinplate import LinearGaussian

N, B, K, D = 1200, 400, 2, 3  # items, mini-batch, components, features
numpyro.enable_x64()
rng = np.random.default_rng(0)
truth = LinearGaussian(rng.standard_normal((D, K)))
data, _ = truth.simulate(N, rng)
posterior = truth.posterior(data)

x, loadings = jnp.array(data), jnp.array(truth.loadings)
loc, scale_tril = jnp.array(posterior.loc), jnp.array(posterior.scale_tril)
prior = dist.Normal(0.0, 1.0)
Program = Callable[..., Any]


def mini_batch(items: Array, dim: int = -1) -> numpyro.plate:
    """The plate of the mini-batch of `items` (B,)."""
    return numpyro.plate("mini_batch", N, subsample_size=len(items), dim=dim)


def joint(items: Array, width: float) -> MultivariateNormal:
    """The exact posterior of `items`, `width` times as wide: batch shape (B,), event shape (K,)."""
    return MultivariateNormal(loc[items], scale_tril=width * scale_tril[items])


def model(items: Array, width: float) -> None:
    """As in the question: `a` (K, B) in both plates."""
    with mini_batch(items):
        with numpyro.plate("components", K, dim=-2):
            a = numpyro.sample("a", prior)
        mean = items_first(a) @ loadings.mT
        numpyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x[items])


def guide(items: Array, width: float) -> None:
    """The auxiliary guide: `a_aux` (B, K) in the plate mini_batch."""
    with mini_batch(items):
        a_aux = numpyro.sample("a_aux", joint(items, width), infer={"is_auxiliary": True})
        with numpyro.plate("components", K, dim=-2):
            numpyro.sample("a", dist.Delta(components_first(a_aux)))


def swapped_model(items: Array, width: float) -> None:
    """The other order: mini_batch at dim=-2, components at dim=-1, `a` (B, K)."""
    with mini_batch(items, dim=-2):
        with numpyro.plate("components", K, dim=-1):
            a = numpyro.sample("a", prior)
        mean = (a @ loadings.mT)[:, None]
        numpyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x[items][:, None])


def swapped_guide(items: Array, width: float) -> None:
    """Its auxiliary guide: no transpose, but a dim of size 1 between batch and event, (B, 1, K)."""
    with mini_batch(items, dim=-2):
        q = MultivariateNormal(loc[items][:, None], scale_tril=width * scale_tril[items][:, None])
        a_aux = numpyro.sample("a_aux", q, infer={"is_auxiliary": True})
        with numpyro.plate("components", K, dim=-1):
            numpyro.sample("a", dist.Delta(jnp.squeeze(a_aux, -2)))


def guide_outside(items: Array, width: float, event_dims: int = 1) -> None:
    """`a_aux` before the plates, its batch shape (B,) declared an event dim."""
    q = joint(items, width).to_event(event_dims)
    a_aux = numpyro.sample("a_aux", q, infer={"is_auxiliary": True})
    with mini_batch(items), numpyro.plate("components", K, dim=-2):
        numpyro.sample("a", dist.Delta(components_first(a_aux)))


def model_both_outside(items: Array, width: float) -> None:
    """`a` (B, K) before the plate, the batch on dim 0."""
    a = numpyro.sample("a", prior.expand([len(items), K]).to_event(2))
    with mini_batch(items):
        numpyro.sample("x", dist.Normal(a @ loadings.mT, 1.0).to_event(1), obs=x[items])


def guide_both_outside(items: Array, width: float) -> None:
    """The same in the guide."""
    numpyro.sample("a", joint(items, width).to_event(1))


def shapes(model: Program, guide: Program) -> list[str]:
    """Trace shapes of guide and model on the first mini-batch, batch dims | event dims."""
    items = jnp.arange(B)
    with handlers.seed(rng_seed=0):
        guide_trace = handlers.trace(guide).get_trace(items, 1.0)
        model_trace = handlers.trace(handlers.replay(model, guide_trace)).get_trace(items, 1.0)
    traces = {"guide": guide_trace, "model": model_trace}
    return [format_shapes(trace, title=name) for name, trace in traces.items()]


def loss(model: Program, guide: Program, batch_size: int = B, width: float = 1.0) -> float:
    """The loss per item in nats, mean over the mini-batches."""

    @jax.jit
    def one(key: Array, items: Array) -> Array:
        return Trace_ELBO().loss(key, {}, model, guide, items, width)

    keys = jax.random.split(jax.random.key(0), N // batch_size)
    batches = jnp.arange(N).reshape(-1, batch_size)
    return float(np.mean([one(*pair) for pair in zip(keys, batches, strict=True)])) / N


def main() -> None:
    """Print shapes and losses of each choice."""
    print("mini_batch at dim=-2", *shapes(swapped_model, swapped_guide), sep="\n", end="\n\n")
    print(f"-log evidence of all items, per item:   {-truth.log_evidence(data).mean():.3f}")
    print(f"loss, all N = {N} items at once:       {loss(model, guide, N):.3f}")
    print(f"loss, mini-batches of B = {B}, dim=-1:  {loss(model, guide):.3f}")
    print(f"loss, mini-batches of B = {B}, dim=-2:  {loss(swapped_model, swapped_guide):.3f}")
    print()
    outside = model_both_outside, guide_both_outside
    print("a outside mini_batch", *shapes(*outside), sep="\n", end="\n\n")
    print("loss per item at            exact   3/4 as wide   exact")
    print(f"                           B = {B}       B = {B}   B = N")
    for name, programs in (
        ("a inside mini_batch:    ", (model, guide)),
        ("the guide steps outside:", (model, guide_outside)),
        ("model and guide do:     ", outside),
        ("without to_event(1):    ", (model, partial(guide_outside, event_dims=0))),
    ):
        narrow, full = loss(*programs, width=0.75), loss(*programs, N)
        print(f"{name} {loss(*programs):8.3f} {narrow:13.3f} {full:7.3f}")


if __name__ == "__main__":
    main()
