"""Encoder parameters that make a guide the exact posterior, where its family and encoder can be."""

from __future__ import annotations

import numpy as np

from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.parameters import initial_params, number_of
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
    params["encoder.out.bias"] = np.zeros_like(params["encoder.out.bias"])
    return {**params, **(_experts if config.encoder == "experts" else _linear)(program, params)}


def _experts(program: ReferenceProgram, params: Params) -> Params:
    """For experts, which put out precision × mean.

    That is loc / scale² + Σ_d observed_d w_d (x_d - b_d) / noise_d² for the exact posterior. The encoder
    sees x_d in standard units, hence the `center` and `spread`.
    """
    g, k = program.start, program.config.num_components
    weights = g.loadings / g.noise_scale[:, None] ** 2
    at_center = (program.center - g.intercept)[:, None] * weights
    bias = params["encoder.out.bias"]
    bias[:k] = g.loc / g.scale**2 + at_center.sum(axis=0)
    bias[k : 2 * k] = number_of(g.scale**-2)
    features = (program.spread[:, None] * weights).T
    return {
        "encoder.out.bias": bias,
        "encoder.skip.weight": np.concatenate([features, -at_center.T], axis=1),
        "encoder.experts": g.loadings / g.noise_scale[:, None],
    }


def _linear(program: ReferenceProgram, params: Params) -> Params:
    """For perceptrons: loc is its value at the center + gain · (x - center), and the covariance constant."""
    g, k = program.start, program.config.num_components
    center = program.center[None]
    covariance = g.posterior(center).covariance[0]
    gain = covariance @ (g.loadings / g.noise_scale[:, None] ** 2).T
    bias = params["encoder.out.bias"]
    bias[:k] = g.posterior(center).loc[0]
    bias[k:] = _scale_numbers(g, program.config.covariance, covariance, center)
    return {"encoder.out.bias": bias, "encoder.skip.weight": gain * program.spread}


def _scale_numbers(g: LinearGaussian, family: str, covariance: Array, center: Array) -> Array:
    if family == "diagonal":
        return number_of(np.diagonal(g.best_diagonal(center).scale_tril[0]))
    if family == "full":
        tril = np.linalg.cholesky(covariance)
        return np.concatenate([number_of(np.diagonal(tril)), tril[np.tril_indices(len(tril), -1)]])
    half = 0.5 * np.linalg.eigvalsh(covariance)[0]
    factor = np.linalg.cholesky(covariance - half * np.eye(len(covariance)))
    return np.concatenate([np.full(len(factor), number_of(np.sqrt(half))), factor.ravel()])
