"""Run a program once on given noise and say what happened at every site."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array, random
from numpyro import handlers

from numpyro_impl.device import DTYPES, find_device, to_array, using
from numpyro_impl.noise import base_noise
from numpyro_impl.objectives import make_loss, map_particles
from numpyro_impl.pairs import Pair, build
from numpyro_impl.params import to_neutral
from twinplate.config import TrainingConfig
from twinplate.evaluation import Evaluation, Plate, Site, sum_of_sites
from twinplate.program import Params, Program


def evaluate(
    x: np.ndarray,
    program: Program,
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
        loss = make_loss(pair, training, num_items or len(x))
        key = random.key(training.seed)
        value, gradient = jax.jit(jax.value_and_grad(loss))(pair.params, key, data, observed, given)
        guide, model, returned = _runs(pair, training, given, data, observed, num_items)
        return Evaluation(
            guide,
            model,
            returned,
            sum_of_sites(guide, model),
            float(value),
            to_neutral(gradient),
        )


def _runs(
    pair: Pair,
    training: TrainingConfig,
    noise: dict[str, Array],
    x: Array,
    a: Array | None,
    num_items: int | None,
) -> tuple[dict[str, Site], dict[str, Site], np.ndarray]:
    """Trace every particle; what is static about a site is noted while JAX traces."""
    static: dict[str, dict[str, Any]] = {}

    def particle(given: tuple[Array, dict[str, Array]]) -> Any:
        key, noise = given
        with base_noise(noise), handlers.seed(rng_seed=key), handlers.substitute(data=pair.params):
            with handlers.trace() as guide:
                pair.guide(x, a, num_items=num_items)
            with handlers.trace() as model, handlers.replay(trace=guide):
                returned = pair.model(x, a, num_items=num_items)
        static["guide"], static["model"] = _sample_sites(guide), _sample_sites(model)
        return _arrays(guide), _arrays(model), returned

    keys = random.split(random.key(training.seed), training.particles)
    mapped = map_particles(training.vectorize_particles)
    guide, model, returned = mapped(particle, (keys, noise))
    sites = [
        {name: _site(node, plates, arrays[name]) for name, (node, plates) in nodes.items()}
        for nodes, arrays in ((static["guide"], guide), (static["model"], model))
    ]
    return sites[0], sites[1], np.asarray(returned)


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
