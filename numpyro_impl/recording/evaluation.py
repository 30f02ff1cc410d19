"""Run a reference program once on given noise: its sites as in a record, its loss and gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax import Array, random
from numpyro import handlers

from numpyro_impl.device import DTYPES, find_device, to_array, using
from numpyro_impl.objectives.losses import make_loss, map_particles
from numpyro_impl.programs.assembly import Pair, build
from numpyro_impl.programs.noise import base_noise, key_of
from numpyro_impl.programs.parameters import NativeParams, to_native, to_neutral
from numpyro_impl.recording.execution import Sites
from numpyro_impl.recording.sites import traced_sites
from twinplate.programs.config import TrainingConfig
from twinplate.programs.parameters import check_params, initial_params
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

    Sites and loss take the particles as `training` says.

    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(5, 4))
    >>> program = make_program(x, ProgramConfig(4, 3, guide="auxiliary"))
    >>> run = evaluate(x, program, initial_params(program, 0), {}, TrainingConfig(device="cpu"))
    >>> list(run.guide), list(run.model), run.elbo.shape
    (['a_aux', 'a'], ['a', 'x'], (1,))
    """
    dtype = DTYPES[training.precision]
    with using(find_device(training.device), training.precision):
        data = to_array(x, dtype)
        observed = None if a is None else to_array(a, dtype)
        given = {name: to_array(values, dtype) for name, values in noise.items()}
        check_params(program, params)
        run = _compiled(program, training, num_items or len(x))
        (value, gradient), particles = run(
            to_native(params, dtype), key_of(training.seed), data, observed, given
        )
        *traced, returned = particles
        guide, model = ({site.name: site.site() for site in sites} for sites in traced)
        return Evaluation(
            guide,
            model,
            np.asarray(returned),
            sum_of_sites(guide, model),
            float(value),
            to_neutral(gradient),
        )


# A program is often evaluated again, with other numbers, and compiling it is most of the time.
@lru_cache(maxsize=4)
def _compiled(program: ReferenceProgram, training: TrainingConfig, num_items: int) -> Any:
    """Loss with its gradient and the traces, as a function of parameters, key, `x`, `a` and noise."""
    pair = build(program, initial_params(program, 0), DTYPES[training.precision])
    loss = make_loss(pair, training, num_items)

    @jax.jit
    def run(
        params: NativeParams, key: Array, x: Array, a: Array | None, noise: dict[str, Array]
    ) -> Any:
        particle = _particle(pair, params, (x, a, num_items))
        keys = random.split(key, training.particles)
        particles = map_particles(training.vectorize_particles)(particle, (keys, noise))
        return jax.value_and_grad(loss)(params, key, x, a, noise), particles

    return run


def _particle(
    pair: Pair, params: NativeParams, args: tuple[Any, ...]
) -> Callable[[Any], tuple[Sites, Sites, Array]]:
    """A function of one particle's key and noise: sites of guide and model, what the model returned."""

    def particle(given: tuple[Array, dict[str, Array]]) -> tuple[Sites, Sites, Array]:
        key, noise = given
        with base_noise(noise), handlers.seed(rng_seed=key), handlers.substitute(data=params):
            with handlers.trace() as guide:
                pair.guide(*args)
            with handlers.trace() as model, handlers.replay(trace=guide):
                returned = pair.model(*args)
        return traced_sites(guide), traced_sites(model), returned

    return particle
