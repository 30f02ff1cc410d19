"""What training minimises: the negative ELBO, or -Σ log q(a | x) on pairs.

A loss is a function `loss(x, a, noise)` of a mini-batch `x` (B, D), pairs `a` (K, B) or None, and
base noise by site (`pyro_impl.programs.noise`; empty to draw from torch's generator). It returns the total of
all N items, estimated from the B: a differentiable scalar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyro_impl.objectives.estimators import EstimatedELBO
from pyro_impl.programs.assembly import Pair
from pyro_impl.programs.noise import base_noise
from twinplate.programs.config import TrainingConfig

Loss = Callable[[Tensor, Tensor | None, dict[str, Tensor]], Tensor]


def make_loss(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """The loss that `training.objective` names."""
    losses = {"elbo": elbo_loss, "simulated": simulated_loss, "pairs": pairs_loss}
    return losses[training.objective](pair, training, num_items)


def elbo_loss(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """Negative ELBO by `training.estimator`, the mean over `training.particles`.

    An observed `a` is scored by both programs.
    """
    elbo = EstimatedELBO(
        training.estimator,
        num_particles=training.particles,
        vectorize_particles=training.vectorize_particles,
        max_plate_nesting=pair.max_plate_nesting,
    )

    def loss(x: Tensor, a: Tensor | None, noise: dict[str, Tensor]) -> Tensor:
        with base_noise(noise):
            return elbo.differentiable_loss(pair.model, pair.guide, x, a, num_items=num_items)

    return loss


def simulated_loss(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """-Σ log q(a, amplitude | x) on pairs drawn from the model, hidden where the mini-batch is."""

    def loss(x: Tensor, a: Tensor | None, noise: dict[str, Tensor]) -> Tensor:
        with torch.no_grad(), base_noise(noise):
            drawn = poutine.trace(poutine.uncondition(pair.model)).get_trace(x, num_items=num_items)
        nodes: dict[str, Any] = drawn.nodes
        x = nodes["x"]["value"].masked_fill(x.isnan(), torch.nan)
        return negative_score(pair, x, nodes["_RETURN"]["value"], drawn, num_items)

    return loss


def pairs_loss(pair: Pair, training: TrainingConfig, num_items: int) -> Loss:
    """-Σ log q(a | x) on the given pairs; a latent that is not given is not scored."""

    def loss(x: Tensor, a: Tensor | None, noise: dict[str, Tensor]) -> Tensor:
        return negative_score(pair, x, a, poutine.Trace(), num_items)

    return loss


def negative_score(
    pair: Pair, x: Tensor, a: Tensor | None, drawn: poutine.Trace, num_items: int
) -> Tensor:
    """-Σ log q, times N / B, over the sites observed: `a`, and an amplitude if `drawn` holds one."""
    given: dict[str, Any] = drawn.nodes
    known = {name: given[name]["value"] for name in ("amplitude",) if name in given}
    guide = poutine.condition(pair.guide, data=known)
    trace = poutine.trace(guide).get_trace(x, a, num_items=num_items)
    trace.compute_log_prob(lambda name, site: site["is_observed"])
    nodes: dict[str, Any] = trace.nodes
    return -sum(s["log_prob_sum"] for s in nodes.values() if "log_prob_sum" in s)
