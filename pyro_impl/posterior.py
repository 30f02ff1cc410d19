"""The fitted guide's posterior of every item."""

from __future__ import annotations

import numpy as np
import torch

from pyro_impl.device import DTYPES, find_device, to_tensor
from pyro_impl.guides import joint_normal
from pyro_impl.pairs import build
from pyro_impl.params import to_numpy
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
    dtype, where = DTYPES[precision], find_device(device)
    encoder = build(program, params, dtype, where).encoder
    locs, trils = [], []
    with torch.no_grad():
        for start in range(0, len(x), CHUNK):
            q = joint_normal(encoder(to_tensor(x[start : start + CHUNK], dtype, where)))
            locs.append(to_numpy(q.loc))
            trils.append(to_numpy(q.scale_tril))
    return Gaussian(np.concatenate(locs), np.concatenate(trils))
