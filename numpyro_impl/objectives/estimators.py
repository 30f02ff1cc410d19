"""Three estimators of one particle's ELBO, all of the same expectation; see `TrainingConfig.estimator`.

Each takes the traces of the guide and of the model that was replayed on it. They differ in how the
guide's own term enters: as log q at the draw, as the closed form of KL(q ‖ p), or as log q without
its score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import stop_gradient
from numpyro.distributions.util import scale_and_mask

from numpyro_impl.programs.guides import components_first
from numpyro_impl.programs.noise import unwrapped

Trace = dict[str, dict[str, Any]]


def base_noise_elbo(guide: Trace, model: Trace) -> Array:
    """log p - log q, with the density of the draw from its base noise: what Trace_ELBO estimates."""
    return log_density(model) - log_density(guide)


def analytic_kl_elbo(guide: Trace, model: Trace) -> Array:
    """The same with log q(a) - log p(a) replaced by its expectation; other latents stay sampled."""
    if model["a"]["is_observed"]:
        return base_noise_elbo(guide, model)
    rest = log_density(model, without=("a",)) - log_density(guide, without=("a", "a_aux"))
    return rest - kl_to_prior(guide, model)


def sticking_the_landing_elbo(guide: Trace, model: Trace) -> Array:
    """log p - log q, with the parameters of q constant in log q: only its draws carry gradients."""
    return log_density(model) - sum(
        jnp.sum(scale_and_mask(path_log_prob(site), site["scale"])) for site in _samples(guide)
    )


def log_density(trace: Trace, without: tuple[str, ...] = ()) -> Array:
    """Scaled log density of all sample sites but those named, summed in execution order."""
    densities = (
        jnp.sum(scale_and_mask(_log_prob(site), site["scale"]))
        for site in _samples(trace)
        if site["name"] not in without
    )
    return sum(densities, start=jnp.asarray(0.0))


def _log_prob(site: dict[str, Any]) -> Array:
    """Elementwise log density, from the base noise where the distribution remembers it."""
    remembered = (site["intermediates"],) if site["intermediates"] else ()
    return site["fn"].log_prob(site["value"], *remembered)


def path_log_prob(site: dict[str, Any]) -> Array:
    """Elementwise log density, differentiable in the value alone if that was drawn."""
    fn, value = unwrapped(site["fn"]), site["value"]
    if site["is_observed"]:
        return _log_prob(site)  # not a draw of q: its density is all that the parameters have
    if not site["intermediates"]:
        return jax.tree.map(stop_gradient, site["fn"]).log_prob(value)
    (noise,) = site["intermediates"]
    score = stop_gradient(fn.score(noise))
    return stop_gradient(_log_prob(site)) + jnp.sum(score * (value - stop_gradient(value)), -1)


def kl_to_prior(guide: Trace, model: Trace) -> Array:
    """KL(q(a | x) ‖ p(a)), scaled: the negative entropy of q, minus E_q log p.

    p is normal, independent in its components, so E_q log p is log p at the mean of q, less half the
    variances of q over those of p.
    """
    joint = guide.get("a_aux", guide["a"])
    q, p = joint["fn"], unwrapped(model["a"]["fn"])
    mean, variance = q.mean, q.variance
    if joint["name"] == "a_aux":
        mean, variance = components_first(mean), components_first(variance)
    expected = p.log_prob(mean) - 0.5 * variance / jnp.square(p.scale)
    return scale_and_mask(-jnp.sum(q.entropy()) - jnp.sum(expected), joint["scale"])


def _samples(trace: Trace) -> list[dict[str, Any]]:
    return [site for site in trace.values() if site["type"] == "sample"]


ESTIMATORS: dict[str, Callable[[Trace, Trace], Array]] = {
    "base-noise": base_noise_elbo,
    "analytic-kl": analytic_kl_elbo,
    "sticking-the-landing": sticking_the_landing_elbo,
}
