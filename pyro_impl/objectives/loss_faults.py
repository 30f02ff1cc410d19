"""Where a loss of Pyro is not that of the program, without a word: told from the traces of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer import RenyiELBO, TraceMeanField_ELBO
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch.distributions import kl_divergence

from pyro_impl.programs.noise import unwrapped
from twinplate.loss_faults import delta_density, divergence_factors, inner_factor, joint_density

Node = dict[str, Any]

Nodes = dict[str, Node]


def faults_of(loss: Any, guide: Trace, model: Trace) -> list[str]:
    """What is wrong with `loss` for a program with these traces, in words; for most programs nothing."""
    find = next((find for faulty, find in FAULTY.items() if isinstance(loss, faulty)), None)
    return [] if find is None else list(find(loss, _samples(guide), _samples(model)))


@contextmanager
def kept_traces(loss: Any) -> Iterator[list[tuple[Trace, Trace]]]:
    """The traces of (guide, model) that `loss` takes meanwhile.

    The program is not run once more: that would draw random numbers and move its counters.
    """
    found: list[tuple[Trace, Trace]] = []
    take = loss._get_trace

    def kept(*given: Any) -> tuple[Trace, Trace]:
        model, guide = take(*given)
        found.append((guide, model))
        return model, guide

    loss._get_trace = kept
    try:
        yield found
    finally:
        del loss._get_trace


def _samples(trace: Trace) -> Nodes:
    nodes: dict[str, Any] = trace.nodes
    return {n: s for n, s in nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}


def _of_mean_field(loss: Any, guide: Nodes, model: Nodes) -> Iterator[str]:
    for name, p in model.items():
        q = guide.get(name)
        if q is None or p["is_observed"]:
            continue
        try:
            divergence = kl_divergence(q["fn"], p["fn"])
        except NotImplementedError:
            continue  # sampled, as Trace_ELBO does
        if isinstance(unwrapped(q["fn"]), dist.Delta):
            value = q["value"]  # the divergence of a point is known at that point
            exact = q["fn"].log_prob(value) - p["fn"].log_prob(value)
            if not torch.allclose(divergence, exact):
                yield delta_density(name)
        if any(_differ(p[factor], q[factor]) for factor in ("scale", "mask")):
            yield divergence_factors(name)


def _differ(first: Any, second: Any) -> bool:
    first, second = (torch.as_tensor(1.0 if x is None else x) for x in (first, second))
    return bool((first != second).any())


def _of_renyi(loss: Any, guide: Nodes, model: Nodes) -> Iterator[str]:
    stacks = [set(p["cond_indep_stack"]) for p in model.values()]
    common = set.intersection(*stacks) if stacks else set()
    for name, q in guide.items():
        outside = [f for f in common - set(q["cond_indep_stack"]) if f.size > 1]
        if outside and not isinstance(unwrapped(q["fn"]), dist.Delta):
            yield joint_density(name, outside[0].name)
    for name, size in {f.name: (f.full_size, f.size) for stack in stacks for f in stack}.items():
        if loss.num_particles > 1 and (size[0] or size[1]) > size[1]:
            yield inner_factor(name)


# Losses that are wrong for some programs, and what finds those.
FAULTY: dict[type, Callable[[Any, Nodes, Nodes], Iterator[str]]] = {
    TraceMeanField_ELBO: _of_mean_field,
    RenyiELBO: _of_renyi,
}
