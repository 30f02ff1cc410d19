"""Which shapes the two routes have in NumPyro, with and without vectorised particles.

    python examples/shapes_numpyro.py

The guides hold the exact posterior of every item. Then, whatever is drawn, the loss of a right
program is -N / B times the log evidence of its mini-batch, and any other number is a mistake.
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

from numpyro_impl import (
    MultivariateNormal,
    base_noise,
    component_model,
    components_first,
    event_model,
)
from twinplate import LinearGaussian

N, B, K, D, P = 12, 4, 2, 3, 5  # items, mini-batch, components, features, particles
Program = Callable[[], Any]


def problem(num_components: int) -> tuple[MultivariateNormal, dict[str, Any], float]:
    """The exact posterior of B items, the model's arguments, and the loss of a right program."""
    rng = np.random.default_rng(0)
    truth = LinearGaussian(rng.standard_normal((D, num_components)))
    x, _ = truth.simulate(B, rng)
    exact = truth.posterior(x)
    loc, scale_tril = jnp.array(exact.loc), jnp.array(exact.scale_tril)  # (B, K), (B, K, K)
    arguments = {
        "x": jnp.array(x),
        "loadings": jnp.array(truth.loadings),
        "intercept": jnp.array(truth.intercept),
        "noise_scale": jnp.array(truth.noise_scale),
        "num_items": N,
    }
    posterior = MultivariateNormal(loc, scale_tril=scale_tril)
    return posterior, arguments, -N / B * truth.log_evidence(x).sum()


def auxiliary_route(
    transpose: Callable[[Array], Array], num_components: int = K
) -> tuple[Program, Program]:
    """The component model and a guide that brings `a_aux` into the plates by `transpose`."""
    posterior, arguments, _ = problem(num_components)

    def guide() -> None:
        with numpyro.plate("mini_batch", N, subsample_size=B, dim=-1):
            a_aux = numpyro.sample("a_aux", posterior, infer={"is_auxiliary": True})
            with numpyro.plate("components", num_components, dim=-2):
                numpyro.sample("a", dist.Delta(transpose(a_aux)))

    return partial(component_model, **arguments), guide


def event_route() -> tuple[Program, Program]:
    """The event model and a guide with one multivariate normal per item."""
    posterior, arguments, _ = problem(K)

    def guide() -> None:
        with numpyro.plate("mini_batch", N, subsample_size=B, dim=-1):
            numpyro.sample("a", posterior)

    return partial(event_model, **arguments), guide


def in_plate(program: Program, particles: int) -> Program:
    """`program` in a plate of its own at dim=-3, Pyro's way of vectorising particles."""

    def wrapped() -> Any:
        with numpyro.plate("particles", particles, dim=-3):
            return program()

    return wrapped


def shapes(model: Program, guide: Program) -> dict[str, str]:
    """Trace shapes of guide and model, batch dims | event dims."""
    with handlers.seed(rng_seed=0):
        traces = {"guide": handlers.trace(guide).get_trace()}
        traces["model"] = handlers.trace(handlers.replay(model, traces["guide"])).get_trace()
    return {name: format_shapes(trace, title=name) for name, trace in traces.items()}


def elbo_loss(model: Program, guide: Program, particles: int = 1) -> Array:
    """The loss as Trace_ELBO computes it: particles by vmap."""
    elbo = Trace_ELBO(num_particles=particles)
    return jax.jit(lambda key: elbo.loss(key, {}, model, guide))(jax.random.key(0))


def plated_loss(model: Program, guide: Program, particles: int = 1, num_components: int = K) -> str:
    """The loss with particles in a plate, on fixed base noise; or the first line of the error."""
    noise = np.random.default_rng(1).standard_normal((particles, B, num_components))
    if particles > 1:
        model, guide = in_plate(model, particles), in_plate(guide, particles)
    try:
        with base_noise({"a_aux": jnp.array(noise)}):
            return f"{elbo_loss(model, guide) / particles:.3f}"
    except ValueError as error:
        return f"ValueError: {str(error).splitlines()[0]}"


def main() -> None:
    """Print the shapes of both routes, then the losses of right and wrong transpositions."""
    numpyro.enable_x64()
    right = auxiliary_route(components_first)
    print("Auxiliary route", *shapes(*right).values(), sep="\n", end="\n\n")
    print("Event route", *shapes(*event_route()).values(), sep="\n", end="\n\n")
    plated = [in_plate(program, P) for program in right]
    print(f"Auxiliary route, a plate of P = {P}", *shapes(*plated).values(), sep="\n", end="\n\n")

    kept, reversed_ = auxiliary_route(lambda a: a.mT), auxiliary_route(lambda a: a.T)
    print(f"K = {K}, B = {B}: a right loss is {problem(K)[2]:.3f}; by vmap over P = {P} with")
    print("  components_first(a_aux):", f"{elbo_loss(*right, P):.3f}")
    print("  a_aux.mT:", f"{elbo_loss(*kept, P):.3f}")
    print("  a_aux.T:", f"{elbo_loss(*reversed_, P):.3f}")
    print("and in a plate of particles with")
    print(f"  components_first(a_aux), P = {P}:", plated_loss(*right, P))
    print(f"  a_aux.mT, P = {P}:", plated_loss(*kept, P))
    print(f"  a_aux.T, P = {P}:", plated_loss(*reversed_, P))
    print(f"  a_aux.T, P = {B} = B:", plated_loss(*reversed_, B))
    print("  a_aux as it is, one particle:", plated_loss(*auxiliary_route(lambda a: a)))
    print()
    print(f"K = B = {B}: a right loss is {problem(B)[2]:.3f}; with")
    print("  a_aux.mT, one particle:", plated_loss(*auxiliary_route(lambda a: a.mT, B), 1, B))
    print("  a_aux as it is, one particle:", plated_loss(*auxiliary_route(lambda a: a, B), 1, B))


if __name__ == "__main__":
    main()
