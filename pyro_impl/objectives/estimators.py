"""Three estimators of one particle's ELBO, all of the same expectation; see `TrainingConfig.estimator`.

Each takes the traces of the guide and of the model that was replayed on it. They differ in how the
guide's own term enters: as log q at the draw, as the closed form of KL(q ‖ p), or as log q without
its score. With vectorised particles a trace holds all of them, and the estimate is their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro import poutine
from pyro.distributions.util import detach, scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item
from torch import Tensor

from pyro_impl.programs.guides import components_first
from pyro_impl.programs.noise import unwrapped

Trace = poutine.Trace


def base_noise_elbo(guide: Trace, model: Trace) -> Tensor:
    """log p - log q, with the density of the draw from its base noise: what Trace_ELBO estimates."""
    return log_density(model) - log_density(guide)


def analytic_kl_elbo(guide: Trace, model: Trace) -> Tensor:
    """The same with log q(a) - log p(a) replaced by its expectation; other latents stay sampled."""
    if model.nodes["a"]["is_observed"]:
        return base_noise_elbo(guide, model)
    rest = log_density(model, without=("a",)) - log_density(guide, without=("a", "a_aux"))
    return rest - kl_to_prior(guide, model)


def sticking_the_landing_elbo(guide: Trace, model: Trace) -> Tensor:
    """log p - log q, with the parameters of q constant in log q: only its draws carry gradients."""
    return log_density(model) - sum(
        scale_and_mask(path_log_prob(site), site["scale"], site["mask"]).sum()
        for site in _samples(guide)
    )


def log_density(trace: Trace, without: tuple[str, ...] = ()) -> Tensor:
    """Scaled log density of all sample sites but those named, summed in execution order."""
    return sum(site["log_prob_sum"] for site in _samples(trace) if site["name"] not in without)


def path_log_prob(site: dict[str, Any]) -> Tensor:
    """Elementwise log density, differentiable in the value alone if that was drawn."""
    fn, value = unwrapped(site["fn"]), site["value"]
    if site["is_observed"]:
        return site[
            "unscaled_log_prob"
        ]  # not a draw of q: its density is all that the parameters have
    if not hasattr(fn, "score"):
        return detach(site["fn"]).log_prob(value)
    score = fn.score(fn.noise_of(value)).detach()
    return site["unscaled_log_prob"].detach() + (score * (value - value.detach())).sum(-1)


def kl_to_prior(guide: Trace, model: Trace) -> Tensor:
    """KL(q(a | x) ‖ p(a)), scaled: the negative entropy of q, minus E_q log p.

    p is normal, independent in its components, so E_q log p is log p at the mean of q, less half the
    variances of q over those of p.
    """
    nodes: dict[str, Any] = guide.nodes  # in Pyro's own type a site's `fn` is any function
    joint = nodes.get("a_aux", nodes["a"])
    q, p = joint["fn"], unwrapped(model.nodes["a"]["fn"])
    mean, variance = q.mean, q.variance
    if joint["name"] == "a_aux":
        mean, variance = components_first(mean), components_first(variance)
    expected = p.log_prob(mean) - 0.5 * variance / p.scale.square()
    return scale_and_mask(-q.entropy().sum() - expected.sum(), joint["scale"])


def _samples(trace: Trace) -> list[dict[str, Any]]:
    nodes: dict[str, Any] = trace.nodes
    samples = (n for n in nodes.values() if n["type"] == "sample")
    return [n for n in samples if not poutine.util.site_is_subsample(n)]


ESTIMATORS: dict[str, Callable[[Trace, Trace], Tensor]] = {
    "base-noise": base_noise_elbo,
    "analytic-kl": analytic_kl_elbo,
    "sticking-the-landing": sticking_the_landing_elbo,
}


class EstimatedELBO(Trace_ELBO):
    """`pyro.infer.Trace_ELBO` by one of the estimators above; particles and plates are Pyro's own."""

    def __init__(self, estimator: str, **options: Any) -> None:
        super().__init__(**options)
        self.estimate = ESTIMATORS[estimator]

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> Any:
        loss = -self.estimate(guide_trace, model_trace)
        return torch_item(loss), loss
