"""The encoders against their formulas in NumPy, and against the exact posterior they can express."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
from twins import both_twins

from twinplate import (
    InputError,
    LinearGaussian,
    ProgramConfig,
    TrainingConfig,
    initial_params,
    make_program,
)
from twinplate.programs.config import COVARIANCES
from twinplate.programs.parameters import noise_shapes
from twinplate.seeds import base_noise

ENCODERS = ("mlp", "experts")
encoders = pytest.mark.parametrize("encoder", ENCODERS)
covariances = pytest.mark.parametrize("covariance", COVARIANCES)
amplitudes = pytest.mark.parametrize("amplitude_scale", [None, 0.3])


# --- what the encoder computes, in NumPy ----------------------------------------------------------


def perceptron(program, params, x):
    """Standardised features, missing indicator and the network's numbers, straight from the layout.

    The network sees the features of an item divided by 1 + their mean square / 4².
    """
    layer = lambda name, v: v @ params[f"encoder.{name}.weight"].T + params[f"encoder.{name}.bias"]
    silu = lambda v: v * scipy.special.expit(v)
    missing = np.isnan(x)
    features = np.where(missing, 0.0, (x - program.center) / program.spread)
    near = features / (1 + np.square(features).mean(1, keepdims=True) / 16)
    hidden = silu(layer("hidden1", np.concatenate([near, missing], 1)))
    return features, missing, layer("out", silu(layer("hidden2", hidden)))


def positive(numbers):
    """softplus, shifted so that 0 becomes 1: log(1 + (e - 1) exp(numbers))."""
    return np.log1p((np.e - 1) * np.exp(numbers))


def expected(program, params, x):
    """With loc, scale, triangle and factor in units of the posterior's `width`."""
    config, width = program.config, program.width
    k, r = config.num_components, config.rank
    features, missing, flat = perceptron(program, params, x)
    found = {}
    if config.amplitude_scale is not None:
        found |= {"amplitude_loc": flat[:, -2], "amplitude_scale": positive(flat[:, -1])}
    if config.encoder == "mlp":
        found["loc"] = width * (flat[:, :k] + features @ params["encoder.skip.weight"].T)
        flat = flat[:, k:]
        if config.covariance == "full":
            end = k * (k + 1) // 2
            lower = width[np.tril_indices(k, -1)[0]] * flat[:, k:end]
            return found | {"scale": width * positive(flat[:, :k]), "lower": lower}
    else:
        both = np.concatenate([features, missing], 1)
        natural = (flat[:, :k] + both @ params["encoder.skip.weight"].T) / width
        precision = np.stack([np.diag(row) for row in positive(flat[:, k : 2 * k])])
        for n, d in zip(*np.nonzero(~missing), strict=True):
            precision[n] += np.outer(params["encoder.experts"][d], params["encoder.experts"][d])
        covariance = np.linalg.inv(precision)
        found["loc"] = np.einsum("nij,nj->ni", covariance, natural)
        flat = flat[:, 2 * k :]
        if config.covariance == "full":
            return found | {"scale_tril": np.linalg.cholesky(covariance)}
        if config.covariance == "diagonal":
            return found | {"scale": np.diagonal(precision, axis1=1, axis2=2) ** -0.5}
    found["scale"] = width * positive(flat[:, :k])
    if config.covariance == "low-rank":
        found["factor"] = width[:, None] * flat[:, k : k + k * r].reshape(-1, k, r)
    return found


@encoders
@covariances
@amplitudes
def test_the_encoder_is_its_formula(twin, problem, encoder, covariance, amplitude_scale):
    x, program, params = problem(
        missing=0.3, encoder=encoder, covariance=covariance, amplitude_scale=amplitude_scale
    )
    given, wanted = twin.encode(program, params, x), expected(program, params, x)
    assert given.keys() == wanted.keys()
    for name, values in wanted.items():
        assert given[name].shape == values.shape
        np.testing.assert_allclose(given[name], values, rtol=1e-11, atol=1e-12, err_msg=name)


SIZES = [(1, 4, 3, 2), (6, 1, 1, 1), (6, 4, 1, 1), (6, 4, 3, 3)]
KINDS = [*itertools.product(ENCODERS, COVARIANCES)]


@both_twins(
    "encoder, covariance, b, d, k, r",
    [(*kind, *size) for kind in KINDS for size in SIZES],
    quick=[(*kind, *SIZES[i % 4]) for i, kind in enumerate(KINDS)],
)
def test_sizes_of_one(twin, problem, encoder, covariance, b, d, k, r):
    x, program, params = problem(b, d, k, encoder=encoder, covariance=covariance, rank=r)
    given, wanted = twin.encode(program, params, x), expected(program, params, x)
    for name, values in wanted.items():
        assert given[name].shape == values.shape
        np.testing.assert_allclose(given[name], values, rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_full_covariance_takes_k_plus_k_times_k_plus_1_over_2_numbers(twin, problem, k):
    _, program, params = problem(num_components=k, num_features=6)
    assert len(params["encoder.out.bias"]) == k + k * (k + 1) // 2
    assert twin.encode(program, params, np.zeros((2, 6)))["lower"].shape == (2, k * (k - 1) // 2)


def test_2k_numbers_are_not_enough_for_a_full_covariance(twin, problem):
    """The slip of the seed's answer."""
    x, program, params = problem()
    for name in ("encoder.out.weight", "encoder.out.bias"):
        params[name] = params[name][: 2 * program.config.num_components]
    with pytest.raises(InputError, match=r"encoder.out.bias has shape \(6,\); expected \(9,\)"):
        twin.encode(program, params, x)


# --- standardisation and missing entries ----------------------------------------------------------


@encoders
def test_units_of_the_data_do_not_matter(twin, problem, encoder):
    """The same items in other units, with the program's centre and spread to match."""
    x, program, params = problem(missing=0.3, encoder=encoder)
    shift, unit = np.array([5.0, -3.0, 0.1, 1e3]), np.array([1e-3, 10.0, 1e4, 1.0])
    moved = replace(program, center=unit * program.center + shift, spread=unit * program.spread)
    first = twin.encode(program, params, x)
    second = twin.encode(moved, params, unit * x + shift)
    for name in first:
        np.testing.assert_allclose(second[name], first[name], rtol=1e-9, atol=1e-9)


@encoders
@covariances
def test_nothing_under_a_missing_entry_matters(twin, problem, encoder, covariance):
    """Not the feature's centre, spread or expert, not what kind of NaN stands there: to the bit."""
    x, program, params = problem(encoder=encoder, covariance=covariance)
    x[:, 1] = np.nan
    first = twin.encode(program, params, x)
    center, spread = program.center.copy(), program.spread.copy()
    center[1], spread[1] = 40.0, 0.01
    moved, changed = replace(program, center=center, spread=spread), dict(params)
    if encoder == "experts":
        changed["encoder.experts"] = params["encoder.experts"].copy()
        changed["encoder.experts"][1] = 77.0
    other = x.copy()
    other[:, 1] = np.array([0xFFF8000000000123], np.uint64).view(np.float64)
    second = twin.encode(moved, changed, other)
    for name in first:
        np.testing.assert_array_equal(second[name], first[name])


@encoders
def test_a_missing_entry_is_not_a_zero(twin, problem, encoder):
    x, program, params = problem(encoder=encoder)
    hidden, centred = x.copy(), x.copy()
    hidden[:, 1], centred[:, 1] = np.nan, program.center[1]
    given = [twin.encode(program, params, items)["loc"] for items in (hidden, centred)]
    assert np.abs(given[0] - given[1]).min() > 1e-6


@both_twins(
    "encoder, covariance, amplitude_scale",
    itertools.product(ENCODERS, COVARIANCES, [None, 0.3]),
    quick=[("mlp", "full", None), ("experts", "low-rank", None), ("experts", "diagonal", 0.3)],
)
def test_nan_reaches_neither_outputs_nor_gradients(
    twin, problem, encoder, covariance, amplitude_scale
):
    """With one item without any observed entry, and one feature without any observed item."""
    x, program, params = problem(
        missing=0.3,
        encoder=encoder,
        covariance=covariance,
        amplitude_scale=amplitude_scale,
        learned=("loadings", "intercept", "noise_scale"),
    )
    x[2], x[:, 3] = np.nan, np.nan
    assert all(np.isfinite(v).all() for v in twin.encode(program, params, x).values())
    training = TrainingConfig(precision="float64", device="cpu")
    noise = base_noise(0, 0, noise_shapes(program.config, len(x)))
    found = twin.impl.evaluate(x, program, params, noise, training)
    assert np.isfinite(found.loss) and found.gradient.keys() == params.keys()
    assert all(np.isfinite(g).all() for g in found.gradient.values())
    assert (found.gradient["raw_loadings"][3] == 0).all()
    assert all(np.abs(g).max() > 0 for g in found.gradient.values())


def test_a_precision_without_a_factor_makes_nan(twin):
    """Of that item alone; an error would end training where a loss that is not finite is reported."""
    precision = np.stack([np.eye(2), -np.eye(2), np.full((2, 2), np.nan)])
    with twin.using("float64"):
        factor = twin.module("programs.encoder").scale_tril_of_precision(twin.array(precision))
        np.testing.assert_array_equal(
            np.isnan(twin.numpy(factor)).any(axis=(1, 2)), [False, True, True]
        )


@pytest.mark.parametrize("k", [1, 2, 5])
def test_scale_tril_of_precision_is_the_factor_of_the_inverse(twin, k):
    encoder = twin.module("programs.encoder")
    root = np.random.default_rng(k).normal(size=(4, k, k))
    precision = root @ root.mT + 0.1 * np.eye(k)
    got = twin.numpy(encoder.scale_tril_of_precision(twin.array(precision)))
    np.testing.assert_allclose(
        got, np.linalg.cholesky(np.linalg.inv(precision)), rtol=1e-9, atol=1e-10
    )
    np.testing.assert_array_equal(got, np.tril(got))


# --- the exact posterior, set by hand -------------------------------------------------------------


def exact_parameters(program):
    """Experts w_d / noise_d, prior precision on the diagonal, and the linear part of Λ m.

    Λ m = loc / scale² + Σ_d observed_d w_d (x_d - b_d) / noise_d², in the encoder's standardised
    features f and missing indicator: x_d - b_d = spread_d f_d + (center_d - b_d).
    """
    g, params = program.start, initial_params(program, 0)
    weight = (g.loadings / g.noise_scale[:, None] ** 2).T  # (K, D)
    offset = weight * (program.center - g.intercept)
    params["encoder.experts"] = g.loadings / g.noise_scale[:, None]
    params["encoder.skip.weight"] = np.concatenate([weight * program.spread, -offset], 1)
    params["encoder.out.weight"] = np.zeros_like(params["encoder.out.weight"])
    bias = params["encoder.out.bias"]
    k = g.num_components
    bias[:k] = g.loc / g.scale**2 + offset.sum(1)
    bias[k : 2 * k] = np.log(np.expm1(g.scale**-2.0) / (np.e - 1))
    return params


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_the_experts_can_be_the_exact_posterior_for_every_missing_pattern(twin, covariance):
    rng, d, k = np.random.default_rng(0), 4, 3
    generative = LinearGaussian(
        rng.normal(size=(d, k)),
        rng.normal(size=d),
        rng.uniform(0.3, 1.5, d),
        rng.normal(size=k),
        rng.uniform(0.5, 2.0, k),
    )
    x = generative.simulate(2**d, rng)[0]
    config = ProgramConfig(d, k, covariance=covariance, encoder="experts", hidden_width=4)
    program = replace(make_program(x, config, generative), width=None)
    for row, pattern in zip(x, itertools.product([False, True], repeat=d), strict=True):
        row[list(pattern)] = np.nan
    assert np.isnan(x[-1]).all() and not np.isnan(x[0]).any()
    got = twin.impl.posterior(x, program, exact_parameters(program))
    wanted = generative.posterior(x) if covariance == "full" else generative.best_diagonal(x)
    np.testing.assert_allclose(got.loc, wanted.loc, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(got.scale_tril, wanted.scale_tril, rtol=1e-10, atol=1e-10)


def test_posterior_encodes_any_number_of_items(twin, problem, monkeypatch):
    """In pieces or in one go; a low rank as one factor."""
    x, program, params = problem(covariance="low-rank", num_items=11)
    whole = twin.impl.posterior(x, program, params)
    encoded = twin.encode(program, params, x)
    cov = encoded["factor"] @ encoded["factor"].mT + encoded["scale"][..., None] ** 2 * np.eye(3)
    np.testing.assert_allclose(whole.scale_tril, np.linalg.cholesky(cov), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(whole.loc, encoded["loc"], rtol=1e-13, atol=1e-14)
    monkeypatch.setattr(twin.module("programs.posteriors"), "CHUNK", 4)
    pieces = twin.impl.posterior(x, program, params)
    np.testing.assert_allclose(pieces.loc, whole.loc, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(pieces.scale_tril, whole.scale_tril, rtol=1e-13, atol=1e-14)
