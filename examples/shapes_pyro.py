"""Which shapes the two routes have in Pyro, with and without vectorised particles.

    python examples/shapes_pyro.py

The guides hold the exact posterior of every item. Then, whatever is drawn, the loss of a right
program is -N / B times the log evidence of its mini-batch, and any other number is a mistake.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_impl import (
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
    loc, scale_tril = torch.tensor(exact.loc), torch.tensor(exact.scale_tril)  # (B, K), (B, K, K)
    arguments = {
        "x": torch.tensor(x),
        "loadings": torch.tensor(truth.loadings),
        "intercept": torch.tensor(truth.intercept),
        "noise_scale": torch.tensor(truth.noise_scale),
        "num_items": N,
    }
    posterior = MultivariateNormal(loc, scale_tril=scale_tril)
    return posterior, arguments, -N / B * truth.log_evidence(x).sum()


def auxiliary_route(
    transpose: Callable[[Tensor], Tensor], num_components: int = K
) -> tuple[Program, Program]:
    """The component model and a guide that brings `a_aux` into the plates by `transpose`."""
    posterior, arguments, _ = problem(num_components)

    def guide() -> None:
        with pyro.plate("mini_batch", N, subsample=torch.arange(B), dim=-1):
            a_aux = pyro.sample("a_aux", posterior, infer={"is_auxiliary": True})
            with pyro.plate("components", num_components, dim=-2):
                pyro.sample("a", dist.Delta(transpose(a_aux)))

    return partial(component_model, **arguments), guide


def event_route() -> tuple[Program, Program]:
    """The event model and a guide with one multivariate normal per item."""
    posterior, arguments, _ = problem(K)

    def guide() -> None:
        with pyro.plate("mini_batch", N, subsample=torch.arange(B), dim=-1):
            pyro.sample("a", posterior)

    return partial(event_model, **arguments), guide


def shapes(model: Program, guide: Program, particles: int = 1) -> dict[str, str]:
    """Trace shapes of guide and model, batch dims | event dims."""
    if particles > 1:  # as Trace_ELBO(vectorize_particles=True) does
        plate = pyro.plate("particles", particles, dim=-3)
        model, guide = plate(model), plate(guide)
    traces = {"guide": poutine.trace(guide).get_trace()}
    traces["model"] = poutine.trace(poutine.replay(model, traces["guide"])).get_trace()
    return {name: trace.format_shapes(title=name) for name, trace in traces.items()}


def loss(model: Program, guide: Program, particles: int = 1, num_components: int = K) -> str:
    """The loss on fixed base noise, or the first line of the error."""
    noise = np.random.default_rng(1).standard_normal((particles, B, num_components))
    elbo = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=2)
    try:
        with base_noise({"a_aux": torch.tensor(noise)}):
            return f"{elbo.loss(model, guide):.3f}"
    except ValueError as error:
        return f"ValueError: {str(error).splitlines()[0]}"


def main() -> None:
    """Print the shapes of both routes, then the losses of right and wrong transpositions."""
    right = auxiliary_route(components_first)
    print("Auxiliary route", *shapes(*right).values(), sep="\n", end="\n\n")
    print("Event route", *shapes(*event_route()).values(), sep="\n", end="\n\n")
    print(f"Auxiliary route, P = {P}", *shapes(*right, P).values(), sep="\n", end="\n\n")

    kept = auxiliary_route(lambda a: a.mT)
    print(f"P = {P}, but a_aux.mT, which keeps the 1", shapes(*kept, P)["model"], sep="\n")
    print()

    warnings.filterwarnings("ignore", "The use of `x.T`", UserWarning)
    print(f"K = {K}, B = {B}: a right loss is {problem(K)[2]:.3f}; with")
    print(f"  components_first(a_aux), P = {P}:", loss(*right, P))
    print(f"  a_aux.mT, P = {P}:", loss(*kept, P))
    print(f"  a_aux.T, P = {P}:", loss(*auxiliary_route(lambda a: a.T), P))
    print(f"  a_aux.T, P = {B} = B:", loss(*auxiliary_route(lambda a: a.T), B))
    print("  a_aux as it is, one particle:", loss(*auxiliary_route(lambda a: a)))
    print()
    print(f"K = B = {B}: a right loss is {problem(B)[2]:.3f}; with")
    print("  a_aux.mT, one particle:", loss(*auxiliary_route(lambda a: a.mT, B), 1, B))
    print("  a_aux as it is, one particle:", loss(*auxiliary_route(lambda a: a, B), 1, B))


if __name__ == "__main__":
    main()
