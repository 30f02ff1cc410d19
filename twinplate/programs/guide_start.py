"""Encoder parameters that make a guide the posterior of the program's start, as far as it can be."""

from __future__ import annotations

import numpy as np

from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.positive import number_of
from twinplate.programs.program import Params, ReferenceProgram


def posterior_guide(program: ReferenceProgram, bias: Array) -> Params:
    """The encoder's parameters, its perceptron apart, that make q(a | x) the posterior of the start.

    bias: (O,), of the perceptron's last layer, whose numbers for a low-rank factor and for an amplitude
        stay as they are.

    The mlp encoder reaches it on complete data, where the posterior's loc is linear in `x` and its
    covariance the same for all items. The experts encoder reaches it whichever entries are missing: a
    posterior precision is diag(scale⁻²) + Σ_d observed_d w_d w_dᵀ / noise_d², a sum of one term for each
    observed feature. The diagonal family has the best diagonal Gaussian, and so has a low-rank one but
    for what its factor adds.
    """
    return (_experts if program.config.encoder == "experts" else _linear)(program, bias.copy())


def _experts(program: ReferenceProgram, bias: Array) -> Params:
    """For experts, which put out precision × mean.

    That is loc / scale² + Σ_d observed_d w_d (x_d - b_d) / noise_d² for the exact posterior. The encoder
    sees x_d in standard units, hence the `center` and `spread`.
    """
    g, k = program.working, program.config.num_components
    width = _width(program)
    weights = g.loadings / g.noise_scale[:, None] ** 2 * width
    at_center = (program.center - g.intercept)[:, None] * weights
    bias[:k] = g.loc / g.scale**2 * width + at_center.sum(axis=0)
    bias[k : 2 * k] = number_of(g.scale**-2)
    if program.config.covariance == "low-rank":
        bias[2 * k : 3 * k] = number_of(g.conditional_scales(np.ones(len(weights))) / width)
    features = _with_offset(program, (program.spread[:, None] * weights).T)
    return {
        "encoder.out.bias": bias,
        "encoder.skip.weight": np.concatenate([features, -at_center.T], axis=1),
        "encoder.experts": g.loadings / g.noise_scale[:, None],
    }


def _linear(program: ReferenceProgram, bias: Array) -> Params:
    """For perceptrons: loc is its value at the center + gain · (x - center), and the covariance constant."""
    g, k, width = program.working, program.config.num_components, _width(program)
    tril, gain = _posterior_map(g)
    tril, gain = tril / width[:, None], gain / width[:, None]
    apart = program.center - g.intercept - g.loadings @ g.loc
    bias[:k] = g.loc / width + gain @ apart
    if program.config.covariance == "full":
        bias[k : 2 * k] = number_of(np.diagonal(tril))
        below = tril[np.tril_indices(k, -1)]
        bias[2 * k : 2 * k + len(below)] = below
    else:
        bias[k : 2 * k] = number_of(g.conditional_scales(np.ones(len(apart))) / width)
    skip = _with_offset(program, gain * program.spread)
    return {"encoder.out.bias": bias, "encoder.skip.weight": skip}


def _with_offset(program: ReferenceProgram, weight: Array) -> Array:
    """Weights (K, D) of the features, and zeros for the offset where there is one: (K, D + 1)."""
    return np.pad(weight, ((0, 0), (0, int(program.config.has_offsets))))


def _posterior_map(g: LinearGaussian) -> tuple[Array, Array]:
    """Of a complete item: the posterior's scale_tril (K, K), and d loc / d x (K, D).

    From singular values of the whitened loadings, none of which is squared: noise close to nothing makes
    the posterior's precision singular in double precision, and not these.
    """
    whitened = g.loadings * g.scale / g.noise_scale[:, None]
    missing = max(0, g.num_components - g.num_features)
    left, strengths, right = np.linalg.svd(
        np.pad(whitened, ((0, missing), (0, 0))), full_matrices=False
    )
    left = left[: g.num_features]
    root = (g.scale * right).T / np.hypot(1, strengths)  # times its transpose: the covariance
    tril = np.linalg.qr(root.T)[1].T
    tril = tril * np.where(np.diagonal(tril) < 0, -1.0, 1.0)
    gain = root * (strengths / np.hypot(1, strengths)) @ left.T / g.noise_scale
    return tril, gain


def _width(program: ReferenceProgram) -> Array:
    return np.ones(program.config.num_components) if program.width is None else program.width
