"""The fitted guide's posterior of every item."""

from __future__ import annotations

import jax
import numpy as np
from jax import Array
from numpyro import handlers
from numpyro.contrib.module import nnx_module

from numpyro_impl.device import DTYPES, find_device, to_array, using
from numpyro_impl.guides import joint_normal
from numpyro_impl.pairs import build
from numpyro_impl.params import NativeParams, to_numpy
from twinplate.linear_gaussian import Gaussian
from twinplate.program import Params, Program

CHUNK = 4096  # items encoded at once


def posterior(
    x: np.ndarray,
    program: Program,
    params: Params,
    *,
    precision: str = "float64",
    device: str = "cpu",
) -> Gaussian:
    """q(a | x) of every item of `x` (N, D), NaN where missing: loc (N, K), scale_tril (N, K, K).

    With an amplitude it is the guide's factor for `a`. Raises InputError for arrays that do not fit.
    """
    dtype = DTYPES[precision]
    with using(find_device(device), precision):
        pair = build(program, params, dtype)

        @jax.jit
        def encode(params: NativeParams, x: Array) -> tuple[Array, Array]:
            with handlers.substitute(data=params):
                q = joint_normal(nnx_module("encoder", pair.encoder)(x))
            return q.loc, q.scale_tril

        locs, trils = [], []
        for start in range(0, len(x), CHUNK):
            loc, tril = encode(pair.params, to_array(x[start : start + CHUNK], dtype))
            locs.append(to_numpy(loc))
            trils.append(to_numpy(tril))
        return Gaussian(np.concatenate(locs), np.concatenate(trils))
