"""Encoder parameters that make a guide the exact posterior, where its family and encoder can be."""

from __future__ import annotations

import numpy as np

from twinplate.errors import InputError
from twinplate.programs.guide_start import posterior_guide
from twinplate.programs.linear_gaussian import Array
from twinplate.programs.parameters import initial_params
from twinplate.programs.positive import number_of
from twinplate.programs.program import Params, ReferenceProgram


def closed_form_params(program: ReferenceProgram) -> Params:
    """Parameters with which q(a | x) is the closed-form optimum of its family for every item.

    The mlp encoder reaches it on complete data, where the posterior's loc is linear in `x` and its
    covariance the same for all items. The experts encoder reaches it whichever entries are missing: a
    posterior precision is diag(scale⁻²) + Σ_d observed_d w_d w_dᵀ / noise_d², a sum of one term for each
    observed feature. The covariance "full" gives the exact posterior, "diagonal" the best diagonal
    Gaussian, and "low-rank" the exact posterior if the rank is K.

    Raises InputError where there is no closed form: with an amplitude, with a rank below K, and for the
    experts encoder with a low rank.
    """
    config = program.config
    low_rank = config.covariance == "low-rank"
    if config.amplitude_scale is not None or (
        low_rank and (config.rank < config.num_components or config.encoder == "experts")
    ):
        raise InputError(
            "the optimum has no closed form with an amplitude, with a low rank below K, or with a low "
            "rank of the experts encoder"
        )
    params = initial_params(program, 0)
    params["encoder.out.weight"] = np.zeros_like(params["encoder.out.weight"])
    bias = np.zeros_like(params["encoder.out.bias"])
    params |= posterior_guide(program, bias)
    if low_rank:
        _split(program, params["encoder.out.bias"])
    return params


def _split(program: ReferenceProgram, bias: Array) -> None:
    """Numbers of scale and factor, of rank K, that make factor factorᵀ + diag(scale²) the covariance."""
    k = program.config.num_components
    width = np.ones(k) if program.width is None else program.width
    covariance = program.start.posterior(program.center[None]).covariance[0]
    covariance = covariance / np.outer(width, width)
    half = 0.5 * np.linalg.eigvalsh(covariance)[0]
    factor = np.zeros((k, program.config.rank))
    factor[:, :k] = np.linalg.cholesky(covariance - half * np.eye(k))
    bias[k:] = np.concatenate([np.full(k, number_of(np.sqrt(half))), factor.ravel()])
