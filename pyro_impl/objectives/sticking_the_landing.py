"""Sticking the landing (Roeder, Wu and Duvenaud 2017, arXiv:1703.09194) for any program.

    svi = SVI(model, guide, optim, StickingTheLandingELBO())

log q(z; φ) depends on the parameters φ through its draws z(φ), and by itself. The gradient of the second
kind, the score of q, has expectation zero. Without it the gradient of the ELBO is that along the path of
the draws: where q is the exact posterior it is zero for every draw.

The guide runs a second time, on its draws held fixed, and each site's score is taken away by a factor
whose value is zero. What the guide changes as it runs it changes twice: the averages of batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_impl.capturing import is_captured
from pyro_impl.programs.noise import unwrapped
from twinplate.errors import InputError


class StickingTheLandingELBO(Trace_ELBO):
    """`pyro.infer.Trace_ELBO`, the same in value, without the score of the guide in its gradient.

    Raises InputError for a guide with a draw that cannot be differentiated, or with random numbers outside
    of its draws, or that is a GuideMessenger.

    >>> def model():
    ...     pyro.sample("z", dist.Normal(0.0, 1.0))
    >>> def guide():
    ...     pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))
    >>> loss = StickingTheLandingELBO().loss_and_grads(model, guide)
    >>> bool(pyro.param("loc").grad == 0)  # the guide is the posterior, whatever was drawn
    True
    """

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(poutine.unwrap(guide), poutine.messenger.Messenger):
            raise InputError(
                f"{type(poutine.unwrap(guide)).__name__} is a guide that runs the model itself, which "
                "StickingTheLandingELBO cannot run again; give a guide that is a program of its own"
            )
        return super()._get_trace(model, _without_score(guide), args, kwargs)


def _without_score(guide: Callable[..., Any]) -> Callable[..., None]:
    """The guide with factors of value zero, whose gradients are minus the scores of its draws."""

    def program(*args: Any, **kwargs: Any) -> None:
        drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        names = _scored(drawn)
        drawn.detach_()
        with poutine.block(), _no_draws():
            held = poutine.trace(poutine.replay(guide, trace=drawn)).get_trace(*args, **kwargs)
        held.compute_log_prob(lambda name, site: name in names)
        for name in names:
            log_q = held.nodes[name]["log_prob_sum"]
            pyro.factor(f"score of {name}", log_q.detach() - log_q, has_rsample=True)

    return program


def _scored(trace: poutine.Trace) -> list[str]:
    """Sites with a density of their draw that has parameters. A Delta's is no density of a draw."""
    nodes: dict[str, Any] = trace.nodes
    found = []
    for name, site in nodes.items():
        if site["type"] != "sample" or site["is_observed"] or poutine.util.site_is_subsample(site):
            continue
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


@contextmanager
def _no_draws() -> Iterator[None]:
    """Raises InputError if random numbers are drawn meanwhile."""
    if is_captured():  # captured: an eager step came before
        yield
        return
    before = _random_state()
    yield
    if not torch.equal(before, _random_state()):
        raise InputError(
            "the guide draws random numbers outside of its sample sites, as dropout does, and a second run "
            "on the same draws is not the same; turn them off (guide.eval()), or take Trace_ELBO"
        )


def _random_state() -> Tensor:
    """Of torch's generators, those of GPUs too."""
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.cat([torch.get_rng_state(), *on_gpus])
