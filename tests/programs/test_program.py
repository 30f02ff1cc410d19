"""A program and its fixed numbers: units of the data, base noise, what does not fit together."""

import numpy as np
import pytest
from program_cases import GUIDES, LEARNED, make, make_data, refusal

import twinplate
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import (
    check_params,
    generative_of,
    initial_params,
    noise_shapes,
    prior_noise_shapes,
)
from twinplate.programs.program import ReferenceProgram, make_program


def test_generative_parameters_are_in_the_units_of_the_data():
    """The three formulas of the module, by hand, for parameters that were moved."""
    program = make(learned=LEARNED)
    rng = np.random.default_rng(2)
    raw = {"loadings": rng.normal(size=(5, 3)), "intercept": rng.normal(size=5)}
    raw["noise_scale"] = rng.normal(size=5)
    found = generative_of(program, {f"raw_{name}": value for name, value in raw.items()})
    center, spread, unit = make_data().mean(0), make_data().std(0), program.start.noise_scale
    np.testing.assert_allclose(found.loadings, np.diag(unit) @ raw["loadings"])
    np.testing.assert_allclose(found.intercept, center + unit * raw["intercept"])
    np.testing.assert_allclose(found.noise_scale, spread * (0.001 + np.exp(raw["noise_scale"])))
    np.testing.assert_array_equal(found.loc, program.start.loc)
    np.testing.assert_array_equal(found.scale, program.start.scale)


def test_a_program_goes_through_its_fixed_numbers():
    program = make(learned=("loadings",))
    assert set(program.fixed) == {*LEARNED, "loc", "scale", "center", "spread", "unit", "width"}
    again = ReferenceProgram.from_fixed(program.config, program.fixed)
    assert again.config == program.config and again.fixed.keys() == program.fixed.keys()
    for name, value in program.fixed.items():
        np.testing.assert_array_equal(again.fixed[name], value)


def test_the_name_it_had_before_is_an_alias():
    assert twinplate.Program is twinplate.ReferenceProgram is ReferenceProgram
    assert {"Program", "ReferenceProgram"} <= set(twinplate.__all__)


def test_centre_and_spread_leave_out_missing_entries():
    x = make_data(missing=0.4)
    program = make_program(x, make().config)
    for j in range(5):
        column = x[~np.isnan(x[:, j]), j]
        np.testing.assert_allclose(program.center[j], column.mean(), rtol=1e-14)
        np.testing.assert_allclose(program.spread[j], column.std(), rtol=1e-13)


def test_what_has_no_variance_in_float64_is_refused():
    """A spread of zero, or an infinite one, is no unit; what is infinite has its place."""
    for unit in (1e-200, 1e200):
        x = make_data() * np.array([1, 1, unit, 1, 1])
        told = refusal(make_program, x, make().config)
        assert "the variance of column 3 of x is no number" in told
    x = make_data()
    x[3, 2] = np.inf
    told = refusal(make_program, x, make().config)
    assert "x holds 1 infinite entry, the first in row 4, column 3" in told


@pytest.mark.parametrize("value", [3.0, 0.7])
def test_a_constant_column_has_spread_one(value):
    x = make_data(num_items=1000)
    x[:, 1] = value
    with pytest.warns(UserWarning, match=r"1 feature of x has the same .* \(column 2\)"):
        program = make_program(x, make().config)
    assert program.spread[1] == 1
    assert program.center[1] == pytest.approx(value, rel=1e-13)
    assert program.start.noise_scale[1] == pytest.approx(0.00101, rel=1e-13)
    np.testing.assert_allclose(program.start.loadings[1], 0, atol=1e-13)


def test_programs_and_data_that_do_not_fit_together():
    config = make().config
    for x in (np.ones(5), np.ones((9, 4)), np.ones((2, 9, 5))):
        message = refusal(make_program, x, config)
        assert str(x.shape) in message and "(N, 5)" in message
    for shape in ((5, 2), (4, 3), (3, 5)):
        message = refusal(make_program, make_data(), config, LinearGaussian(np.ones(shape)))
        assert f"loadings has shape {shape}" in message
        assert "(num_features, num_components) = (5, 3)" in message


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda p: p.pop("encoder.out.bias"), ["encoder.out.bias", "shape None", "(9,)"]),
        (lambda p: p.update(extra=np.ones(2)), ["extra", "shape (2,)", "expected None"]),
        (
            lambda p: p.update({"raw_loadings": np.ones((3, 5))}),
            ["raw_loadings", "(3, 5)", "(5, 3)", "another configuration"],
        ),
    ],
)
def test_parameters_of_another_configuration(change, fragments):
    program = make(learned=("loadings",))
    params = initial_params(program, seed=0)
    change(params)
    message = refusal(check_params, program, params)
    assert all(fragment in message for fragment in fragments), message


@pytest.mark.parametrize(("guide", "covariance"), GUIDES)
@pytest.mark.parametrize("amplitude_scale", [None, 0.5])
def test_noise_shapes(guide, covariance, amplitude_scale):
    """K = 3, R = 2, D = 5, B = 7: plated (K, B), joint (B, K), for a low rank (B, K + R)."""
    config = make(guide=guide, covariance=covariance, amplitude_scale=amplitude_scale).config
    amplitude = {} if amplitude_scale is None else {"amplitude": (7,)}
    site = {"diagonal": "a", "event": "a", "auxiliary": "a_aux"}[guide]
    joint = (7, 5) if covariance == "low-rank" else (7, 3)
    shape = (3, 7) if guide == "diagonal" else joint
    assert noise_shapes(config, 7) == {site: shape} | amplitude
    plated = (7, 3) if guide == "event" else (3, 7)
    assert prior_noise_shapes(config, 7) == {"a": plated, "x": (7, 5)} | amplitude
