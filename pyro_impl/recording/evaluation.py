"""Run a reference program once on given noise: its sites as in a record, its loss and gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_impl.device import DTYPES, find_device, to_tensor
from pyro_impl.objectives.losses import make_loss
from pyro_impl.programs.assembly import Pair, build
from pyro_impl.programs.noise import base_noise
from pyro_impl.programs.parameters import leaves, to_neutral, to_numpy
from pyro_impl.recording.sites import make_sites, sample_nodes, score
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.records.evaluation import Evaluation, sum_of_sites


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

    Sites are traced one particle after the other; the loss takes the particles as `training` says.

    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(5, 4))
    >>> program = make_program(x, ProgramConfig(4, 3, guide="auxiliary"))
    >>> run = evaluate(x, program, initial_params(program, 0), {}, TrainingConfig(device="cpu"))
    >>> list(run.guide), list(run.model), run.elbo.shape
    (['a_aux', 'a'], ['a', 'x'], (1,))
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
        traces = _traces(pair, training.particles, given, (data, observed, num_items))
    guide, model = (make_sites(each, training.particles) for each in zip(*traces, strict=True))
    return Evaluation(
        guide,
        model,
        np.stack([to_numpy(_nodes(trace)["_RETURN"]["value"]) for _, trace in traces]),
        sum_of_sites(guide, model),
        loss.item(),
        to_neutral(dict(zip(parameters, gradient, strict=True))),
    )


def _traces(
    pair: Pair, particles: int, noise: dict[str, Tensor], args: tuple[Any, ...]
) -> list[tuple[poutine.Trace, poutine.Trace]]:
    """Traces of guide and model, scored, one pair for each particle."""
    traces = []
    with base_noise(noise):
        for _ in range(particles):
            guide = poutine.trace(pair.guide).get_trace(*args)
            model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*args)
            for node in [*sample_nodes(guide).values(), *sample_nodes(model).values()]:
                score(node)
            traces.append((guide, model))
    return traces


def _nodes(trace: poutine.Trace) -> dict[str, Any]:
    return trace.nodes  # in Pyro's own type a site's `fn` is any function
