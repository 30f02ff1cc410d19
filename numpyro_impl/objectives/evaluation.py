"""Run a program once on given noise and say what happened at every site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array, random
from numpyro import handlers

from numpyro_impl.device import DTYPES, find_device, to_array, using
from numpyro_impl.objectives.losses import make_loss, map_particles
from numpyro_impl.programs.assembly import Pair, build
from numpyro_impl.programs.noise import base_noise, key_of
from numpyro_impl.programs.parameters import NativeParams, to_neutral
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.records.evaluation import Evaluation, Site, sum_of_sites
from twinplate.records.record import Plate


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
    dtype = DTYPES[training.precision]
    with using(find_device(training.device), training.precision):
        data = to_array(x, dtype)
        observed = None if a is None else to_array(a, dtype)
        given = {name: to_array(values, dtype) for name, values in noise.items()}
        pair = build(program, params, dtype)
        total = num_items or len(x)
        loss = make_loss(pair, training, total)
        static: dict[str, dict[str, Any]] = {}  # what is fixed about each site, noted while tracing

        @jax.jit
        def run(params: NativeParams, key: Array, noise: dict[str, Array]) -> Any:
            particle = _particle(pair, params, data, observed, total, static)
            keys = random.split(key, training.particles)
            sites = map_particles(training.vectorize_particles)(particle, (keys, noise))
            return jax.value_and_grad(loss)(params, key, data, observed, noise), sites

        (value, gradient), (arrays, returned) = run(pair.params, key_of(training.seed), given)
        guide, model = (
            {
                name: _site(node, plates, arrays[which][name])
                for name, (node, plates) in static[which].items()
            }
            for which in ("guide", "model")
        )
        return Evaluation(
            guide,
            model,
            np.asarray(returned),
            sum_of_sites(guide, model),
            float(value),
            to_neutral(gradient),
        )


def _particle(
    pair: Pair,
    params: NativeParams,
    x: Array,
    a: Array | None,
    num_items: int,
    static: dict[str, dict[str, Any]],
) -> Callable[[Any], Any]:
    """A function that traces guide and model for one particle's key and noise."""

    def particle(given: tuple[Array, dict[str, Array]]) -> Any:
        key, noise = given
        with base_noise(noise), handlers.seed(rng_seed=key), handlers.substitute(data=params):
            with handlers.trace() as guide:
                pair.guide(x, a, num_items=num_items)
            with handlers.trace() as model, handlers.replay(trace=guide):
                returned = pair.model(x, a, num_items=num_items)
        static.update(guide=_sample_sites(guide), model=_sample_sites(model))
        return {"guide": _arrays(guide), "model": _arrays(model)}, returned

    return particle


def _sample_sites(trace: dict[str, Any]) -> dict[str, Any]:
    plates = {name: node["args"] for name, node in trace.items() if node["type"] == "plate"}
    return {name: (node, plates) for name, node in trace.items() if node["type"] == "sample"}


def _arrays(trace: dict[str, Any]) -> dict[str, tuple[Array, Array]]:
    """Value and elementwise log density of every sample site."""
    arrays = {}
    for name, (node, _) in _sample_sites(trace).items():
        remembered = (node["intermediates"],) if node["intermediates"] else ()
        arrays[name] = node["value"], node["fn"].log_prob(node["value"], *remembered)
    return arrays


def _site(node: Any, plates: dict[str, Any], arrays: tuple[Array, Array]) -> Site:
    frames = sorted(node["cond_indep_stack"], key=lambda f: f.dim)
    return Site(
        _kind(node),
        tuple(Plate(f.name, f.dim, plates[f.name][0], f.size) for f in frames),
        tuple(node["fn"].batch_shape),
        tuple(node["fn"].event_shape),
        np.asarray(arrays[0]),
        np.asarray(arrays[1]),
        1.0 if node["scale"] is None else float(node["scale"]),
    )


def _kind(node: dict[str, Any]) -> str:
    if node["is_observed"]:
        return "observed"
    return "auxiliary" if node["infer"].get("is_auxiliary") else "latent"
