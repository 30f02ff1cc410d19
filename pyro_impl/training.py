"""Fit a program: mini-batches, Adam under a cosine schedule, losses per item."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyro_impl.device import DTYPES, find_device, memory, to_tensor
from pyro_impl.item_blocks import backward
from pyro_impl.objectives import Loss, make_loss
from pyro_impl.pairs import build
from pyro_impl.params import leaves, to_neutral
from twinplate.blocks import on_disk
from twinplate.config import TrainingConfig
from twinplate.memory import item_axes, items_at_once
from twinplate.program import Program, initial_params
from twinplate.seeds import generator
from twinplate.streaming import with_batches
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

    x: an array, which goes to the device as a whole, or a memory map (`np.load` with `mmap_mode="r"`),
        of which only the mini-batches ahead are read.
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
    data = None if on_disk(x) else to_tensor(x, dtype, device)
    pairs = None if a is None or on_disk(x) else to_tensor(a, dtype, device)
    step = partial(
        backward,
        length=items_at_once(program.config, training, memory(device)),
        axes=item_axes(program.config, training),
    )
    losses = [np.zeros(0)]
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        pair = build(program, state.params, dtype, device)
        loss = make_loss(pair, training, len(x))
        first = to_tensor(np.array(x[:1], np.float64), dtype, device)
        first_pair = None if a is None else to_tensor(np.array(a[:, :1]), dtype, device)
        names, optimizer = _prepare(loss, first, first_pair, state)
        plan = chunks(program.config, training, len(x), matched, state.step)
        for chunk in with_batches(plan, x, a):
            with pyro.validation_enabled(False):
                batches = _batches(chunk, data, pairs, first)
                found = _run(chunk, batches, partial(step, loss), optimizer, training.seed)
                losses.append(found / len(x))
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


def _batches(
    chunk: Chunk, data: Tensor | None, pairs: Tensor | None, like: Tensor
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The mini-batch of every step, with its pairs; without `data`, those that the chunk brings along."""
    for step, indices in enumerate(torch.from_numpy(chunk.indices).to(like.device)):
        if data is not None:
            yield data[indices], None if pairs is None else pairs[:, indices]
        else:
            given = (None if v is None else v[step] for v in (chunk.x, chunk.a))
            yield tuple(None if v is None else to_tensor(v, like.dtype, like.device) for v in given)


def _run(
    chunk: Chunk,
    batches: Iterator[tuple[Tensor, Tensor | None]],
    backward: Callable[..., Tensor],
    optimizer: torch.optim.Adam,
    seed: int,
) -> np.ndarray:
    """The steps of one chunk; their losses."""
    torch.manual_seed(int(generator(seed, "torch", chunk.first).integers(2**62)))
    losses = []
    for step, (rate, (x, a)) in enumerate(zip(chunk.rates, batches, strict=True)):
        noise = {name: to_tensor(v[step], x.dtype, x.device) for name, v in chunk.noise.items()}
        optimizer.zero_grad()
        losses.append(backward(x, a, noise))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return torch.stack(losses).double().cpu().numpy()


def _state(names: dict[str, Tensor], optimizer: torch.optim.Adam, step: int) -> TrainingState:
    def moment(key: str) -> Any:
        return to_neutral({name: optimizer.state[leaf][key] for name, leaf in names.items()})

    return TrainingState(to_neutral(names), moment("exp_avg"), moment("exp_avg_sq"), step)
