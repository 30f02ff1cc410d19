"""Fit a program: mini-batches, Adam under a cosine schedule, losses per item."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyro_impl.device import DTYPES, find_device, to_tensor
from pyro_impl.objectives import Loss, make_loss
from pyro_impl.pairs import build
from pyro_impl.params import leaves, to_neutral
from twinplate.config import ESTIMATORS, TrainingConfig
from twinplate.program import Program, initial_params
from twinplate.seeds import generator
from twinplate.training import Chunk, Fit, Progress, TrainingState, check_pairs, chunks


def fit(
    x: np.ndarray,
    program: Program,
    training: TrainingConfig,
    *,
    a: np.ndarray | None = None,
    state: TrainingState | None = None,
    matched: bool = False,
    progress: Progress | None = None,
) -> Fit:
    """Train `program` on `x` (N, D), NaN where missing, for `training.steps` steps in all.

    a: pairs (K, N) for the objective "pairs".
    state: where to go on from; by default the initial parameters of `training.seed`.
    matched: take the base noise from `twinplate.seeds`, the same numbers in both twins, instead of
        torch's generator. Initial parameters and mini-batches are the same in any case.
    progress: called after every chunk of steps.

    On one CPU with a fixed number of threads the result is the same to the bit for equal arguments.
    The caller's parameter store is left as it was. Raises InputError for arguments that do not fit.
    """
    training.check_items(len(x))
    check_pairs(a, training.objective, program.config.num_components, len(x))
    state = state or TrainingState.start(initial_params(program, training.seed))
    dtype, device = DTYPES[training.precision], find_device(training.device)
    data = to_tensor(x, dtype, device)
    pairs = None if a is None else to_tensor(a, dtype, device)
    losses = [np.zeros(0)]
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        pair = build(program, state.params, dtype, device, complete=not np.isnan(x).any())
        losses_of = {
            name: make_loss(pair, replace(training, estimator=name), len(x))
            for name in {ESTIMATORS[0], training.estimator}
        }
        loss = losses_of[ESTIMATORS[0]]
        names, optimizer = _prepare(loss, data[:1], None if pairs is None else pairs[:, :1], state)
        for chunk in chunks(program.config, training, len(x), matched, state.step):
            with pyro.validation_enabled(False):
                loss = losses_of[chunk.estimator]
                losses.append(_run(chunk, loss, optimizer, data, pairs, training.seed) / len(x))
            if progress:
                progress(chunk.first + len(chunk.rates), losses[-1])
        return Fit(_state(names, optimizer, training.steps), np.concatenate(losses))


def _prepare(
    loss: Loss, x: Tensor, a: Tensor | None, state: TrainingState
) -> tuple[dict[str, Tensor], torch.optim.Adam]:
    """Run once, validated, so that the parameters exist; then their optimiser, in neutral order."""
    loss(x, a, {})
    parameters = leaves()
    optimizer = torch.optim.Adam(parameters.values())
    for name, leaf in parameters.items():
        optimizer.state[leaf] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": to_tensor(state.mean[name], leaf.dtype, leaf.device),
            "exp_avg_sq": to_tensor(state.variance[name], leaf.dtype, leaf.device),
        }
    return parameters, optimizer


def _run(
    chunk: Chunk,
    loss: Loss,
    optimizer: torch.optim.Adam,
    data: Tensor,
    pairs: Tensor | None,
    seed: int,
) -> np.ndarray:
    """The steps of one chunk; their losses."""
    torch.manual_seed(int(generator(seed, "torch", chunk.first).integers(2**62)))
    indices = torch.from_numpy(chunk.indices).to(data.device)
    noise = {name: to_tensor(v, data.dtype, data.device) for name, v in chunk.noise.items()}
    losses = []
    for step, rate in enumerate(chunk.rates):
        a = None if pairs is None else pairs[:, indices[step]]
        value = loss(data[indices[step]], a, {name: v[step] for name, v in noise.items()})
        optimizer.zero_grad()
        value.backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        losses.append(value.detach())
    return torch.stack(losses).double().cpu().numpy()


def _state(names: dict[str, Tensor], optimizer: torch.optim.Adam, step: int) -> TrainingState:
    def moment(key: str) -> Any:
        return to_neutral({name: optimizer.state[leaf][key] for name, leaf in names.items()})

    return TrainingState(to_neutral(names), moment("exp_avg"), moment("exp_avg_sq"), step)
