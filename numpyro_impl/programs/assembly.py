"""A model and the guide that fits it, ready for `numpyro.infer`, built from a framework-free program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpyro
from jax import Array

from numpyro_impl.device import to_array
from numpyro_impl.programs.encoder import ENCODERS, Encoder
from numpyro_impl.programs.guides import GUIDES
from numpyro_impl.programs.models import MODELS
from numpyro_impl.programs.parameters import NativeParams, to_native
from twinplate.programs.parameters import check_params
from twinplate.programs.program import NOISE_FLOOR, Params, ReferenceProgram


@dataclass(frozen=True, eq=False)
class Pair:
    """`model(x, a=None, num_items=None)`, `guide` with the same arguments, and their parameters.

    `params` are native: pass them to `Trace_ELBO().loss`, or as `init_params` to `SVI.init`.
    """

    model: Callable[..., Array]
    guide: Callable[..., Array]
    encoder: Encoder
    params: NativeParams


def build(
    program: ReferenceProgram,
    params: Params,
    dtype: jnp.dtype = jnp.float32,
    complete: bool = False,
) -> Pair:
    """The pair of `program` with the values of `params` (neutral layout).

    complete: a promise that no entry of `x` is NaN; then neither spends anything on masks.

    Raises InputError if the parameters are not those of `program`.
    """
    check_params(program, params)
    config = program.config
    encoder = ENCODERS[config.encoder](program, complete)
    native = to_native(params, dtype)
    fixed = {name: to_array(values, dtype) for name, values in program.fixed.items()}

    def model(x: Array, a: Array | None = None, num_items: int | None = None) -> Array:
        return MODELS[config.model](
            x,
            a,
            **generative(fixed, {n: native[f"raw_{n}"] for n in config.learned}),
            loc=fixed["loc"][:, None],
            scale=fixed["scale"][:, None],
            amplitude_scale=config.amplitude_scale,
            num_items=num_items,
            complete=complete,
        )

    def guide(x: Array, a: Array | None = None, num_items: int | None = None) -> Array:
        return GUIDES[config.guide](x, a, encoder=encoder, num_items=num_items)

    return Pair(model, guide, encoder, native)


def generative(fixed: dict[str, Array], raw: dict[str, Array]) -> dict[str, Array]:
    """Loadings, intercept and noise scale: as fixed, or from learned numbers of order one.

    `raw` holds the first values of those that are learned. Formulas in `twinplate.programs.parameters`.
    """
    values = {name: fixed[name] for name in ("loadings", "intercept", "noise_scale")}
    learned = {name: numpyro.param(f"raw_{name}", first) for name, first in raw.items()}
    center, spread = fixed["center"], fixed["spread"]
    if "loadings" in learned:
        values["loadings"] = spread[:, None] * learned["loadings"]
    if "intercept" in learned:
        values["intercept"] = center + spread * learned["intercept"]
    if "noise_scale" in learned:
        values["noise_scale"] = spread * (NOISE_FLOOR + jnp.exp(learned["noise_scale"]))
    return values
