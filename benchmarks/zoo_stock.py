"""The stock recipe: each framework's own SVI, Adam and multivariate normal on the shipped model and encoder.

Data, mini-batches, first rate and cosine schedule are those of `fit`. Learned loadings start at the
principal components, and what a run has reached are its last parameters: nothing that `fit` does to train
well is in here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from recipes import stock_normal

from twinplate.programs.config import LEARNABLE, TrainingConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import initial_params
from twinplate.programs.program import Params, ReferenceProgram, make_program
from twinplate.training.plan import chunks, cosine
from twinplate.training.state import Array

# What was trained, its parameters, and the loss per item of every step.
Trained = tuple[ReferenceProgram, Params, Array]


def train_stock(
    framework: str, x: Array, program: ReferenceProgram, training: TrainingConfig, **options: Any
) -> Trained:
    """One run; one that diverges raises what the framework raises, or has NaN.

    The guide starts near the standard normal. The program that comes back has the units of its own start,
    in which its parameters are.

    options: of `CompiledSVI`, which then takes the steps of the framework's own SVI.
    """
    if program.learned:
        config = replace(program.config, learned=LEARNABLE)
        program = make_program(x, config, principal_components(x, config.num_components))
    program = replace(program, width=None)
    with stock_normal(framework), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NaN, at every step
        params, losses = TRAINERS[framework](x, program, training, options)
    return program, params, losses / len(x)


def principal_components(x: Array, k: int) -> LinearGaussian:
    """Probabilistic PCA (Tipping and Bishop, 1999) of standardised features, missing entries at the mean."""
    center, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    z = np.nan_to_num((x - center) / spread)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    rest = values[:-k].mean() if k < len(values) else 0.0
    loadings = vectors[:, -k:] * np.sqrt(np.maximum(values[-k:] - rest, 1e-4))
    noise = np.sqrt(np.maximum(1 - np.square(loadings).sum(axis=1), 4e-4))
    return LinearGaussian(spread[:, None] * loadings, center, spread * noise)


def _numpyro(
    x: Array, program: ReferenceProgram, training: TrainingConfig, options: dict[str, Any]
) -> tuple[Params, Array]:
    import jax
    import jax.numpy as jnp
    from numpyro import infer, optim

    from numpyro_impl import CompiledSVI
    from numpyro_impl.programs.assembly import build
    from numpyro_impl.programs.parameters import to_neutral

    def rate(step: Any) -> Any:
        return 0.5 * training.learning_rate * (1 + jnp.cos(jnp.pi * step / training.steps))

    first = initial_params(program, training.seed)
    pair = build(program, first, complete=not np.isnan(x).any())
    parts = pair.model, pair.guide, optim.Adam(rate), infer.Trace_ELBO()
    data, key = jnp.asarray(x, jnp.float32), jax.random.key(training.seed)
    plan = chunks(program.config, training, len(x), matched=False)
    if options:
        batches = (data[rows] for chunk in plan for rows in chunk.indices)
        run = CompiledSVI(*parts, **options).run_batches(
            key, batches, progress_bar=False, init_params=pair.params, num_items=len(x)
        )
        return to_neutral(run.params), np.asarray(run.losses, np.float64)
    svi = infer.SVI(*parts)

    def step(state: Any, rows: Any) -> Any:
        return svi.update(state, data[rows], num_items=len(x))

    take = jax.jit(lambda state, indices: jax.lax.scan(step, state, indices))
    batch = data[: training.batch_size]
    state = svi.init(key, batch, init_params=pair.params, num_items=len(x))
    losses = []
    for chunk in plan:
        state, found = take(state, chunk.indices)
        losses.append(np.asarray(found, np.float64))
    return to_neutral(svi.get_params(state)), np.concatenate(losses)


def _pyro(
    x: Array, program: ReferenceProgram, training: TrainingConfig, options: dict[str, Any]
) -> tuple[Params, Array]:
    import pyro
    import torch
    from pyro import infer, optim

    from pyro_impl import CompiledSVI
    from pyro_impl.programs.assembly import build
    from pyro_impl.programs.parameters import leaves, to_neutral

    def rate(step: int) -> float:
        return float(cosine(training.learning_rate, step, training.steps))

    torch.manual_seed(training.seed)
    first, losses = initial_params(program, training.seed), []
    data = torch.as_tensor(x, dtype=torch.float32)
    with pyro.get_param_store().scope():
        pair = build(program, first, complete=not np.isnan(x).any())
        settings = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 1.0}, "lr_lambda": rate}
        adam = optim.LambdaLR(settings)
        elbo = infer.Trace_ELBO(max_plate_nesting=pair.max_plate_nesting)
        kind = CompiledSVI if options else infer.SVI
        svi = kind(pair.model, pair.guide, adam, elbo, **options)
        for chunk in chunks(program.config, training, len(x), matched=False):
            for rows in torch.from_numpy(chunk.indices):
                losses.append(svi.step(data[rows], num_items=len(x)))
                adam.step()
        return to_neutral(leaves()), np.array(losses)


TRAINERS: dict[str, Callable[..., tuple[Params, Array]]] = {"numpyro": _numpyro, "pyro": _pyro}
