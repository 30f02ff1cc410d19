"""The guide's posterior in NumPy: what the encoders of both twins compute, without either framework."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy

from twinplate.data.blocks import blocks
from twinplate.data.frames import items_of
from twinplate.data.stored import Matrix, matrix_of
from twinplate.errors import InputError
from twinplate.programs.likelihood import check_values, working
from twinplate.programs.linear_gaussian import Array, Gaussian
from twinplate.programs.parameters import (
    FAR,
    check_params,
    output_parts,
    output_units,
)
from twinplate.programs.positive import LEAST_POSITIVE, UNIT_SHIFT
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.programs.shapes import check_items
from twinplate.programs.triangle import scale_tril_of_precision
from twinplate.words import are, counted


def new_items(x: Any, program: ReferenceProgram) -> Matrix:
    """`x` as an array (N, D) of real numbers, N = 0 included; what is on disk stays there.

    Of a frame the columns are found by name (`twinplate.data.frames`).

    Raises InputError for columns that are missing or unknown, for another shape, for what is no number, for
    infinite entries, and for those that cannot be under the likelihood.
    """
    x, num_features = matrix_of(items_of(x, program.features)), program.config.num_features
    if x.dtype.kind not in "biuf":
        raise InputError(f"x holds {x.dtype} values; expected real numbers, NaN where missing")
    if x.shape == (num_features,):
        raise InputError(
            f"x has shape {x.shape}; expected (N, {num_features}): pass x[None] for one item"
        )
    check_items(x.shape, num_features)
    infinite = 0
    for first, block in blocks(x):
        infinite += int(np.isinf(block).sum())
        check_values(program.config.likelihood, block, first, program.features)
    if infinite:
        raise InputError(
            f"x holds {counted(infinite, 'infinite entry', 'infinite entries')}; expected finite numbers, "
            "NaN where missing"
        )
    return x


def check_seen(program: ReferenceProgram, variance: Params, x: Matrix) -> None:
    """Raise InputError where entries of `x` are missing and the guide has never met a missing entry.

    variance: Adam's of every parameter. That of the mlp encoder's weights for missing indicators is zero
    as long as every item was complete. The experts encoder leaves out what is missing by construction, and
    of an item without any entry the posterior is the prior.
    """
    d, inputs = program.config.num_features, program.config.row_size
    if program.config.encoder == "experts" or variance["encoder.hidden1.weight"][:, inputs:].any():
        return
    count = 0
    for _, block in blocks(x):
        absent = np.isnan(block).sum(axis=1)
        count += int(absent[absent < d].sum())
    if count:
        exact = (
            "The model's own posterior is `fit.generative.posterior(x)`, by which `predict(x, exact=True)` "
            "and `impute --exact` go; or fit data with missing entries"
        )
        normal = program.config.likelihood == "normal" and program.config.amplitude_scale is None
        raise InputError(
            f"{counted(count, 'entry', 'entries')} of x {are(count)} missing, but the guide was trained on "
            "complete data and its encoder has never seen one missing. "
            f"{exact if normal else 'Fit data that have missing entries, too,'} with encoder='experts' "
            "(`--missing mask`)"
        )


def guide_blocks(
    program: ReferenceProgram, params: Params, x: Matrix, offsets: Array | None = None
) -> Iterator[Gaussian]:
    """q(a | x) of consecutive items of `x` (N, D), some at a time: loc (M, K), scale_tril (M, K, K).

    The same as `posterior_blocks` of either twin, in double precision. `x` may be on disk. Of an item
    without any entry it is the prior. Raises InputError for parameters of another program.

    offsets: (N,), as from `program.offsets_of(x)`.
    """
    check_params(program, params)
    start = program.start  # whose prior no fit changes
    for first, block in blocks(x, length=start.items_at_once()):
        of = None if offsets is None else offsets[first : first + len(block)]
        yield start.prior_where_empty(block, _encoded(program, params, block, of))


def _encoded(
    program: ReferenceProgram, params: Params, x: Array, offsets: Array | None
) -> Gaussian:
    missing = np.isnan(x)
    logs = None
    if offsets is not None:
        assert program.offset_units is not None
        middle, unit = program.offset_units
        logs = np.log(offsets) - middle
    known = working(program.config.likelihood, x, logs)
    features = np.where(missing, 0.0, (known - program.center) / program.spread)
    if logs is not None:
        features = np.column_stack([features, logs / unit])
    part = _perceptron(program, params, features, missing)
    k, covariance = program.config.num_components, program.config.covariance
    units = output_units(program)
    inputs = features
    if program.config.encoder == "experts":
        inputs = np.concatenate([features, missing], axis=1)
    linear = inputs @ params["encoder.skip.weight"].T * (1.0 if units is None else units[:k])
    width = 1.0 if program.width is None else program.width
    scale = width * _positive(part["scale"]) if "scale" in part else np.zeros(0)
    if program.config.encoder == "mlp":
        loc = part["loc"] + linear
    else:
        precision = _precision(params["encoder.experts"], missing, part["precision"])
        scale_tril = scale_tril_of_precision(precision)
        loc = (scale_tril @ (scale_tril.mT @ (part["natural"] + linear)[:, :, None]))[:, :, 0]
        if covariance == "full":
            return Gaussian(loc, scale_tril)
        if covariance == "diagonal":
            scale = np.diagonal(precision, axis1=-2, axis2=-1) ** -0.5
    if covariance == "low-rank":
        factor = part["factor"].reshape(len(x), k, -1)
        covariances = factor @ factor.mT + _diagonal(scale**2)
        return Gaussian(loc, np.asarray(np.linalg.cholesky(covariances)))
    scale_tril = _diagonal(scale)
    if covariance == "full":
        rows, columns = np.tril_indices(k, -1)
        scale_tril[:, rows, columns] = part["lower"]
    return Gaussian(loc, scale_tril)


def _perceptron(
    program: ReferenceProgram, params: Params, features: Array, missing: np.ndarray
) -> dict[str, Array]:
    """What the network puts out, by `output_parts`, in the units of the posterior's width."""

    def layer(name: str, inputs: Array) -> Array:
        return inputs @ params[f"encoder.{name}.weight"].T + params[f"encoder.{name}.bias"]

    if program.width is not None:
        features = features / (1 + np.square(features).mean(axis=1, keepdims=True) / FAR**2)
    hidden = _silu(layer("hidden1", np.concatenate([features, missing], axis=1)))
    numbers = layer("out", _silu(layer("hidden2", hidden)))
    units, sizes = output_units(program), output_parts(program.config)
    numbers = numbers if units is None else units * numbers
    pieces = np.split(numbers, np.cumsum(list(sizes.values()))[:-1], axis=1)
    return dict(zip(sizes, pieces, strict=True))


def _precision(experts: Array, missing: np.ndarray, numbers: Array) -> Array:
    d, k = experts.shape
    outer = (experts[:, :, None] * experts[:, None, :]).reshape(d, k * k)
    return ((~missing) @ outer).reshape(-1, k, k) + _diagonal(_positive(numbers))


def _positive(numbers: Array) -> Array:
    return np.maximum(np.logaddexp(numbers + UNIT_SHIFT, 0.0), LEAST_POSITIVE)


def _silu(numbers: Array) -> Array:
    return np.asarray(numbers * scipy.special.expit(numbers))


def _diagonal(values: Array) -> Array:
    """(N, K) to (N, K, K)."""
    return np.asarray(values[:, :, None] * np.eye(values.shape[1]))
