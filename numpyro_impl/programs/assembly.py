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
from numpyro_impl.programs.likelihoods import split_rows
from numpyro_impl.programs.models import MODELS
from numpyro_impl.programs.parameters import NativeParams, to_native
from twinplate.programs.likelihood import DISPERSION_FLOOR
from twinplate.programs.parameters import check_params
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.programs.start import NOISE_FLOOR


@dataclass(frozen=True, eq=False)
class Pair:
    """`model(x, a=None, num_items=None)`, `guide` with the same arguments, and their parameters.

    params: as NumPyro names them, for `Trace_ELBO().loss`, or as `init_params` for `SVI.init`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from numpyro.infer import Trace_ELBO
    >>> from numpyro_impl import Pair, build
    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> pair = build(program, initial_params(program, seed=0))
    >>> key, args = jax.random.key(0), (pair.model, pair.guide, jnp.ones((5, 3)))
    >>> isinstance(pair, Pair), bool(Trace_ELBO().loss(key, pair.params, *args) > 0)
    (True, True)
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

    complete: a promise that no entry of `x` is NaN. Model and guide then spend nothing on masks.

    Raises InputError if the parameters are not those of `program`.

    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from numpyro.handlers import seed, substitute
    >>> from numpyro_impl import build
    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> pair = build(program, initial_params(program, seed=0))
    >>> seed(substitute(pair.guide, pair.params), 0)(jnp.ones((5, 3))).shape  # (K, B)
    (2, 5)
    """
    check_params(program, params)
    config = program.config
    encoder = ENCODERS[config.encoder](program, complete)
    native = to_native(params, dtype)
    fixed = {name: to_array(values, dtype) for name, values in program.fixed.items()}

    def model(x: Array, a: Array | None = None, num_items: int | None = None) -> Array:
        x, offsets = split_rows(x, config)
        return MODELS[config.model](
            x,
            a,
            **generative(fixed, {n: native[f"raw_{n}"] for n in program.learned}),
            loc=fixed["loc"][:, None],
            scale=fixed["scale"][:, None],
            amplitude_scale=config.amplitude_scale,
            num_items=num_items,
            complete=complete,
            likelihood=config.likelihood,
            offsets=offsets,
        )

    def guide(x: Array, a: Array | None = None, num_items: int | None = None) -> Array:
        return GUIDES[config.guide](x, a, encoder=encoder, num_items=num_items)

    return Pair(model, guide, encoder, native)


def generative(fixed: dict[str, Array], raw: dict[str, Array]) -> dict[str, Array]:
    """Loadings (D, K), intercept, noise scale and concentration (D,) by name, as fixed or as learned.

    fixed: `ReferenceProgram.fixed`, as arrays.
    raw: first values of the learned ones, in which they are of order one; the formulas that give them
        units are at the head of `twinplate.programs.parameters`.
    """
    names = ("loadings", "intercept", "noise_scale", "concentration")
    values = {name: fixed[name] for name in names if name in fixed}
    learned = {name: numpyro.param(f"raw_{name}", first) for name, first in raw.items()}
    center, spread, unit = fixed["center"], fixed["spread"], fixed["unit"]
    if "loadings" in learned:
        values["loadings"] = unit[:, None] * learned["loadings"]
    if "intercept" in learned:
        values["intercept"] = center + unit * learned["intercept"]
    if "noise_scale" in learned:
        values["noise_scale"] = spread * (NOISE_FLOOR + jnp.exp(learned["noise_scale"]))
    if "concentration" in learned:
        dispersion = DISPERSION_FLOOR + jnp.exp(-learned["concentration"])
        values["concentration"] = 1 / dispersion
    return values
