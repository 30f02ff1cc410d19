"""Where a loss of NumPyro is not that of the program, without a word: told from the traces of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions.kl import kl_divergence
from numpyro.infer import RenyiELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from numpyro.infer.util import is_identically_one

from numpyro_impl.programs.noise import unwrapped
from twinplate.loss_faults import (
    divergence_factors,
    enumerated_scan,
    joint_density,
    mixed_items,
    squared_scale,
    unchecked_shapes,
)

Node = dict[str, Any]
Nodes = dict[str, Node]
Trace = Nodes


def faults_of(loss: Any, guide: Trace, model: Trace) -> list[str]:
    """What is wrong with `loss` for a program with these traces, in words; for most programs nothing."""
    find = next((find for faulty, find in FAULTY.items() if isinstance(loss, faulty)), None)
    found = list(_of_batched_guide(_samples(guide), _samples(model)))
    return found if find is None else found + list(find(_samples(guide), _samples(model)))


class Traced:
    """A program that keeps the trace of its last run.

    Whoever runs it gets it at no cost: the program is not run once more.
    """

    def __init__(self, program: Any) -> None:
        self.program = program
        self.trace: Trace = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program."""
        with handlers.trace() as self.trace:
            return self.program(*args, **kwargs)


def _samples(trace: Trace) -> Nodes:
    return {name: site for name, site in trace.items() if site["type"] == "sample"}


def _latent(model: Nodes) -> Nodes:
    return {name: site for name, site in model.items() if not site["is_observed"]}


def _of_mean_field(guide: Nodes, model: Nodes) -> Iterator[str]:
    for name, p in _latent(model).items():
        if name not in guide:
            continue
        q = guide[name]
        try:
            kl_divergence(q["fn"], p["fn"])
        except NotImplementedError:
            continue  # sampled, as Trace_ELBO does
        if _differ(p["scale"], q["scale"]):
            yield divergence_factors(name)


def _differ(first: Any, second: Any) -> bool:
    """Whether two scales differ; of numbers that JAX only traces nothing is known."""
    first, second = (1.0 if x is None else x for x in (first, second))
    try:
        return bool(jnp.any(jnp.asarray(first) != jnp.asarray(second)))
    except jax.errors.ConcretizationTypeError:
        return False


def _of_score_function(guide: Nodes, model: Nodes) -> Iterator[str]:
    for name, q in _latent(guide).items():
        scale = q["scale"]
        if not (q["fn"].has_rsample or scale is None or is_identically_one(scale)):
            yield squared_scale(name)


def _of_renyi(guide: Nodes, model: Nodes) -> Iterator[str]:
    stacks = [set(p["cond_indep_stack"]) for p in model.values()]
    common = set.intersection(*stacks) if stacks else set()
    for name, q in guide.items():
        outside = [f for f in common - set(q["cond_indep_stack"]) if f.size > 1]
        if outside and not isinstance(unwrapped(q["fn"]), dist.Delta):
            yield joint_density(name, outside[0].name)


def _of_enumeration(guide: Nodes, model: Nodes) -> Iterator[str]:
    latent = _latent(model)
    in_scans = [p for p in latent.values() if p.get("_control_flow_done")]
    if any(p["infer"].get("enumerate") == "parallel" for p in in_scans):
        yield enumerated_scan()
    for name in [name for name in latent if name in guide]:
        drawn, scored = (_shape(site) for site in (guide[name], latent[name]))
        if drawn != scored:
            yield unchecked_shapes(name, drawn, scored)


def _shape(site: Node) -> tuple[int, ...]:
    """Without leading ones, which every loss leaves alone."""
    shape = tuple(site["fn"].shape())
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _of_batched_guide(guide: Nodes, model: Nodes) -> Iterator[str]:
    """The guides AutoBatched…: rows of several sites, laid one after the other in one vector."""
    if len(_latent(model)) < 2:
        return
    for name, q in guide.items():
        fn = q["fn"]
        if not isinstance(fn, dist.TransformedDistribution):
            continue
        reshaped = isinstance(fn.transforms[-1], dist.transforms.ReshapeTransform)
        rows = unwrapped(fn.base_dist).batch_shape if reshaped else ()
        if any(size > 1 for size in rows):
            yield mixed_items(name)


# Losses that are wrong for some programs, and what finds those.
FAULTY: dict[type, Callable[[Nodes, Nodes], Iterator[str]]] = {
    TraceMeanField_ELBO: _of_mean_field,
    TraceGraph_ELBO: _of_score_function,
    RenyiELBO: _of_renyi,
    TraceEnum_ELBO: _of_enumeration,
}
