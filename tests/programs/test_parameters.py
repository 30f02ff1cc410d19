"""Parameters to a framework and back: not a bit is lost, and nothing that does not belong gets in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from twinplate import InputError
from twinplate.programs.config import PAIRS

GUIDES = [(guide, cov) for guide, (_, covs) in PAIRS.items() for cov in covs]
LEARNED = [(), ("loadings",), ("loadings", "intercept", "noise_scale")]
CONFIGS = [
    {"guide": g, "covariance": c, "encoder": e, "amplitude_scale": s, "learned": learned}
    for (g, c), e, s, learned in itertools.product(GUIDES, ("mlp", "experts"), (None, 0.5), LEARNED)
]


def round_trip(twin, program, params, precision):
    """Through the parameters that the framework itself holds."""
    module = twin.module("programs.parameters")
    if twin.name == "numpyro":
        pair = twin.impl.build(program, params, getattr(twin.jax.numpy, precision))
        return module.to_neutral(pair.params)
    store = twin.framework.get_param_store()
    with store.scope():
        pair = twin.impl.build(program, params, getattr(twin.torch, precision))
        x = twin.array(np.ones((2, program.config.num_features)), precision)
        twin.framework.poutine.trace(pair.guide).get_trace(x)
        twin.framework.poutine.trace(pair.model).get_trace(x)
        return module.to_neutral(module.leaves())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: "-".join(map(str, c.values())))
def test_double_precision_comes_back_to_the_bit(twin, problem, config):
    _, program, params = problem(**config)
    back = round_trip(twin, program, params, "float64")
    assert list(back) == sorted(params) and len(back) >= 7
    for name, values in params.items():
        np.testing.assert_array_equal(back[name], values, err_msg=name)
        assert back[name].dtype == np.float64


def test_single_precision_comes_back_rounded_once(twin, problem):
    _, program, params = problem(learned=("loadings",), encoder="experts")
    with twin.using("float32"):
        back = round_trip(twin, program, params, "float32")
    for name, values in params.items():
        np.testing.assert_array_equal(back[name], values.astype(np.float32), err_msg=name)


def test_what_comes_back_is_a_copy(twin, problem):
    _, program, params = problem(learned=("loadings",))
    kept = {name: values.copy() for name, values in params.items()}
    for values in round_trip(twin, program, params, "float64").values():
        values += 1.0
    back = round_trip(twin, program, params, "float64")
    for name, values in kept.items():
        np.testing.assert_array_equal(params[name], values)
        np.testing.assert_array_equal(back[name], values)


def test_numbers_taken_out_of_a_framework_are_ones_own(twin):
    values = twin.array(np.ones(3))
    taken = twin.module("programs.parameters").to_numpy(values)
    taken[0] = 5.0
    np.testing.assert_array_equal(twin.numpy(values), np.ones(3))


def test_any_memory_layout_will_do(twin, problem):
    _, program, params = problem(learned=("loadings",))
    turned = {name: np.asfortranarray(values) for name, values in params.items()}
    turned["raw_loadings"] = params["raw_loadings"][::-1, ::-1].copy()[::-1, ::-1]
    back = round_trip(twin, program, turned, "float64")
    for name, values in params.items():
        np.testing.assert_array_equal(back[name], values)
        assert back[name].flags.c_contiguous


def without(params, name):
    return {n: v for n, v in params.items() if n != name}


WRONG = {
    "missing": (lambda p: without(p, "encoder.out.bias"), "encoder.out.bias has shape None"),
    "unknown": (lambda p: {**p, "encoder.gate": np.ones(3)}, "encoder.gate has shape"),
    "unknown leaf": (lambda p: {**p, "raw_scale": np.ones(3)}, "raw_scale has shape"),
    "not learned": (lambda p: {**p, "raw_intercept": np.ones(4)}, "raw_intercept has shape"),
    "left out": (lambda p: without(p, "raw_loadings"), "raw_loadings has shape None"),
    "transposed": (
        lambda p: {**p, "encoder.out.weight": p["encoder.out.weight"].T},
        r"encoder.out.weight has shape \(5, 9\); expected \(9, 5\)",
    ),
    "transposed loadings": (
        lambda p: {**p, "raw_loadings": p["raw_loadings"].T},
        r"raw_loadings has shape \(3, 4\); expected \(4, 3\)",
    ),
    "a row": (
        lambda p: {**p, "encoder.out.bias": p["encoder.out.bias"][None]},
        r"encoder.out.bias has shape \(1, 9\); expected \(9,\)",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_parameters_of_another_configuration_are_refused(twin, problem, wrong):
    x, program, params = problem(learned=("loadings",))
    change, message = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        twin.impl.posterior(x, program, change(params))
    twin.impl.posterior(x, program, params)
