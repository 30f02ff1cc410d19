"""Run a program once on given noise and say what happened at every site."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer.enum import get_importance_trace
from torch import Tensor

from pyro_impl.device import DTYPES, find_device, to_tensor
from pyro_impl.objectives.losses import make_loss
from pyro_impl.programs.assembly import Pair, build
from pyro_impl.programs.noise import base_noise
from pyro_impl.programs.parameters import leaves, to_neutral, to_numpy
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.records.evaluation import Evaluation, Site, sum_of_sites
from twinplate.records.record import Plate

PARTICLES = "num_particles_vectorized"  # the name of Pyro's own plate of particles


def evaluate(
    x: np.ndarray,
    program: ReferenceProgram,
    params: Params,
    noise: dict[str, np.ndarray],
    training: TrainingConfig,
    *,
    a: np.ndarray | None = None,
    num_items: int | None = None,
) -> Evaluation:
    """ELBO of `program` with `params` on the mini-batch `x` (B, D), site by site, and its gradient.

    noise: base noise by site, (P, ...), as from `twinplate.seeds.base_noise`.
    training: gives the particles (number, vectorised or not), the precision and the device.
    a: observed values (K, B), if any.  num_items: N ≥ B.
    """
    dtype, device = DTYPES[training.precision], find_device(training.device)
    data = to_tensor(x, dtype, device)
    observed = None if a is None else to_tensor(a, dtype, device)
    given = {name: to_tensor(values, dtype, device) for name, values in noise.items()}
    with pyro.get_param_store().scope():
        pair = build(program, params, dtype, device)
        loss = make_loss(pair, training, num_items or len(x))(data, observed, given)
        parameters = leaves()
        gradient = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
        runs = _runs(pair, training, given, (data, observed), {"num_items": num_items})
    p = training.particles
    guide, model = _sites([g for _, g in runs], p), _sites([m for m, _ in runs], p)
    drawn = [to_numpy(_nodes(m)["_RETURN"]["value"]) for m, _ in runs]
    returned = np.concatenate([r.reshape(-1, *r.shape[-2:]) for r in drawn])
    return Evaluation(
        guide,
        model,
        _for_all(returned, p),
        sum_of_sites(guide, model),
        loss.item(),
        to_neutral(dict(zip(parameters, gradient, strict=True))),
    )


def _runs(
    pair: Pair, training: TrainingConfig, noise: dict[str, Tensor], args: Any, kwargs: Any
) -> list[tuple[poutine.Trace, poutine.Trace]]:
    """Traces of model and guide: one of all particles, or one for each."""
    nesting, times = pair.max_plate_nesting, training.particles
    model, guide = pair.model, pair.guide
    if training.vectorize_particles:
        plate = pyro.plate(PARTICLES, training.particles, dim=-1 - nesting)
        model, guide, times, nesting = plate(model), plate(guide), 1, nesting + 1
    with base_noise(noise):
        return [
            get_importance_trace("flat", nesting, model, guide, args, kwargs) for _ in range(times)
        ]


def _sites(traces: list[poutine.Trace], particles: int) -> dict[str, Site]:
    names = [
        name
        for name, node in _nodes(traces[0]).items()
        if node["type"] == "sample" and not poutine.util.site_is_subsample(node)
    ]
    return {name: _site([_nodes(t)[name] for t in traces], particles) for name in names}


def _nodes(trace: poutine.Trace) -> dict[str, Any]:
    return trace.nodes  # in Pyro's own type a site's `fn` is any function


def _site(nodes: list[dict[str, Any]], particles: int) -> Site:
    node = nodes[0]
    frames = sorted(
        (f for f in node["cond_indep_stack"] if f.name != PARTICLES), key=lambda f: f.dim
    )
    depth = max((-f.dim for f in frames), default=0)
    sizes = {f.dim: f.size for f in frames}
    batch_shape = tuple(sizes.get(dim, 1) for dim in range(-depth, 0))
    event_shape = tuple(node["fn"].event_shape)
    log_prob = np.concatenate(
        [_particles_first(n["unscaled_log_prob"], batch_shape) for n in nodes]
    )
    value = np.concatenate([_particles_first(n["value"], batch_shape + event_shape) for n in nodes])
    return Site(
        _kind(node),
        tuple(Plate(f.name, f.dim, f.full_size or f.size, f.size) for f in frames),
        batch_shape,
        event_shape,
        _for_all(value, particles),
        log_prob,
        float(node["scale"]),
    )


def _for_all(values: np.ndarray, particles: int) -> np.ndarray:
    # Pyro does not repeat for every particle what is the same for all of them: what was observed.
    return np.broadcast_to(values, (particles, *values.shape[1:]))


def _particles_first(values: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return to_numpy(values).reshape(-1, *shape)


def _kind(node: dict[str, Any]) -> str:
    if node["is_observed"]:
        return "observed"
    return "auxiliary" if node["infer"].get("is_auxiliary") else "latent"
