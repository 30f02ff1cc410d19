"""Sticking the landing (Roeder, Wu and Duvenaud 2017, arXiv:1703.09194) for any program.

    svi = SVI(model, guide, optim, StickingTheLandingELBO())

log q(z; φ) depends on the parameters φ through its draws z(φ), and by itself. The gradient of the second
kind, the score of q, has expectation zero. Without it the gradient of the ELBO is that along the path of
the draws: where q is the exact posterior it is zero for every draw.

The guide runs a second time, with the same keys and on its draws held fixed, and each site's score is taken
away by a factor whose value is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpyro
import numpyro.distributions as dist
from jax import Array
from jax.lax import stop_gradient
from numpyro import handlers
from numpyro.infer import Trace_ELBO
from numpyro.infer.util import compute_log_probs

from numpyro_impl.programs.noise import unwrapped
from twinplate.errors import InputError


class StickingTheLandingELBO(Trace_ELBO):
    """`numpyro.infer.Trace_ELBO`, the same in value, without the score of the guide in its gradient.

    From the same draws, that is: those of a key are others. Raises InputError for a guide with a draw that
    cannot be differentiated.

    >>> import jax
    >>> def model():
    ...     numpyro.sample("z", dist.Normal(0.0, 1.0))
    >>> def guide():
    ...     numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.0), 1.0))
    >>> def loss(params):
    ...     return StickingTheLandingELBO().loss(jax.random.key(0), params, model, guide)
    >>> bool(jax.grad(loss)({"loc": 0.0})["loc"] == 0)  # the guide is the posterior, whatever was drawn
    True
    """

    def loss_with_mutable_state(
        self,
        rng_key: Array,
        param_map: dict[str, Any],
        model: Any,
        guide: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        guide = _without_score(guide, param_map)
        return super().loss_with_mutable_state(rng_key, param_map, model, guide, *args, **kwargs)


def _without_score(guide: Callable[..., Any], params: dict[str, Any]) -> Callable[..., None]:
    """The guide with factors of value zero, whose gradients are minus the scores of its draws."""

    def program(*args: Any, **kwargs: Any) -> None:
        seeded = handlers.seed(guide, numpyro.prng_key())
        drawn = handlers.trace(seeded).get_trace(*args, **kwargs)
        values = {name: stop_gradient(site["value"]) for name, site in _draws(drawn)}
        with handlers.block():
            held, _ = compute_log_probs(seeded, args, kwargs, {**params, **values})
        for name in _scored(drawn):
            numpyro.factor(f"score of {name}", stop_gradient(held[name]) - held[name])

    return program


def _draws(trace: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(n, s) for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]]


def _scored(trace: dict[str, dict[str, Any]]) -> list[str]:
    """Sites with a density of their draw that has parameters. A Delta's is no density of a draw."""
    found = []
    for name, site in _draws(trace):
        fn = unwrapped(site["fn"])
        if not site["fn"].has_rsample:
            raise InputError(
                f"the guide's site {name!r} is drawn from {type(fn).__name__}, which gives its parameters no "
                "gradient through the draw, as StickingTheLandingELBO needs; draw it from another family, "
                "or sum it out of the model"
            )
        if not isinstance(fn, dist.Delta):
            found.append(name)
    return found
