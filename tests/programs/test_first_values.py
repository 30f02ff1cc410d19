"""Parameters before training: names, shapes and first values."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from program_cases import GUIDES, LEARNED, SUBSETS, make, make_data

from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import (
    check_params,
    generative_of,
    initial_params,
    param_shapes,
)
from twinplate.programs.positive import number_of
from twinplate.programs.program import ReferenceProgram, make_program
from twinplate.programs.start import LEAST_NOISE

# Counted by hand for K = 3 and R = 2. Perceptron: loc 3, then 6, 3 or 3 + 6 numbers for the scale.
# Experts: precision x mean 3 and log precision 3, and for a low rank 3 + 6.
OUTPUTS = {
    ("mlp", "full"): 9,
    ("mlp", "diagonal"): 6,
    ("mlp", "low-rank"): 12,
    ("experts", "full"): 6,
    ("experts", "diagonal"): 6,
    ("experts", "low-rank"): 15,
}


@pytest.mark.parametrize(("guide", "covariance"), GUIDES)
@pytest.mark.parametrize("encoder", ["mlp", "experts"])
@pytest.mark.parametrize("amplitude_scale", [None, 0.5])
def test_names_and_shapes(guide, covariance, encoder, amplitude_scale):
    """The table at the head of `twinplate.programs.parameters` with D = 5, K = 3, R = 2, H = 4."""
    out = OUTPUTS[encoder, covariance] + (0 if amplitude_scale is None else 2)
    experts = encoder == "experts"
    expected = {
        "encoder.hidden1.weight": (4, 10),
        "encoder.hidden1.bias": (4,),
        "encoder.hidden2.weight": (4, 4),
        "encoder.hidden2.bias": (4,),
        "encoder.out.weight": (out, 4),
        "encoder.out.bias": (out,),
        "encoder.skip.weight": (3, 10) if experts else (3, 5),
    }
    if experts:
        expected["encoder.experts"] = (5, 3)
    generative = {"loadings": (5, 3), "intercept": (5,), "noise_scale": (5,)}
    for learned in SUBSETS:
        program = make(
            guide=guide,
            covariance=covariance,
            encoder=encoder,
            amplitude_scale=amplitude_scale,
            learned=learned,
        )
        params = initial_params(program, seed=0)
        raw = {f"raw_{name}": generative[name] for name in learned}
        assert {name: v.shape for name, v in params.items()} == expected | raw
        assert param_shapes(program) == expected | raw
        assert all(v.dtype == np.float64 for v in params.values())
        check_params(program, params)


def plain(**config) -> ReferenceProgram:
    """A program that does not know the width of the posterior."""
    return replace(make(**config), width=None)


def test_no_number_is_drawn_to_check_parameters(monkeypatch):
    program = make(learned=LEARNED, encoder="experts")
    params = initial_params(program, seed=0)
    monkeypatch.setattr("twinplate.programs.parameters.generator", None)  # of random numbers
    check_params(program, params)


def test_first_weights():
    """Variance 1 / fan-in to 5 standard errors (6e-7 for each of three to fail by chance)."""
    program = plain(hidden_width=256, learned=LEARNED)
    params = initial_params(program, seed=0)
    for name, fan_in, gain in (("hidden1", 10, 1), ("hidden2", 256, 1), ("out", 256, 0.01)):
        weight = params[f"encoder.{name}.weight"] * np.sqrt(fan_in) / gain
        assert abs(np.mean(weight**2) - 1) < 5 * np.sqrt(2 / weight.size)
        assert abs(np.mean(weight)) < 5 / np.sqrt(weight.size)
        assert not params[f"encoder.{name}.bias"].any()
    assert not params["encoder.skip.weight"].any()


def test_first_experts():
    """Normal with variance 4 / D, to 5 standard errors; the skip is zero here too."""
    config = ProgramConfig(500, 3, hidden_width=2, encoder="experts")
    generative = LinearGaussian(np.ones((500, 3)))
    program = ReferenceProgram(config, generative, np.zeros(500), np.ones(500))
    params = initial_params(program, seed=0)
    experts = params["encoder.experts"] * np.sqrt(500 / 4)
    assert abs(np.mean(experts**2) - 1) < 5 * np.sqrt(2 / 1500)
    assert not params["encoder.skip.weight"].any()


@pytest.mark.parametrize("encoder", ["mlp", "experts"])
@pytest.mark.parametrize("amplitude_scale", [None, 0.5])
def test_only_the_low_rank_factor_and_the_amplitude_start_with_a_bias(encoder, amplitude_scale):
    """The factor stands last (K·R = 6 numbers), before the two of the amplitude, which is its prior."""
    options = {"encoder": encoder, "amplitude_scale": amplitude_scale}
    bias = initial_params(plain(covariance="low-rank", **options), 0)["encoder.out.bias"]
    if amplitude_scale is not None:
        assert bias[-2] == 0
        assert np.log1p((np.e - 1) * np.exp(bias[-1])) == pytest.approx(amplitude_scale, rel=1e-14)
        bias = bias[:-2]
    assert not bias[:-6].any()
    assert np.all(bias[-6:] != 0) and np.abs(bias[-6:]).max() < 0.5
    for covariance in ("full", "diagonal"):
        bias = initial_params(plain(covariance=covariance, **options), 0)["encoder.out.bias"]
        assert not bias[: len(bias) - 2 * (amplitude_scale is not None)].any()


@pytest.mark.parametrize("value", [1e-30, 1e-6, 0.3, 1.0, 20.0, 1e6])
def test_number_of_is_the_inverse_of_what_makes_positive(value):
    number = mpmath.mpf(float(number_of(value)))
    found = mpmath.log1p((mpmath.e - 1) * mpmath.exp(number))
    assert float(found) == pytest.approx(value, rel=1e-13)


def test_first_values_belong_to_the_seed():
    program = plain(covariance="low-rank", encoder="experts", learned=LEARNED)
    first, again, other = (initial_params(program, seed) for seed in (7, 7, 8))
    random = {"encoder.out.bias", "encoder.experts"} | {
        f"encoder.{name}.weight" for name in ("hidden1", "hidden2", "out")
    }
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert (not np.array_equal(first[name], other[name])) == (name in random)
    # every part has a stream of its own: the ratio of two draws does not see how they were scaled
    parts = [first[name][first[name] != 0] for name in random]
    assert len({round(part[1] / part[0], 9) for part in parts}) == len(parts)


@pytest.mark.parametrize("learned", SUBSETS)
@pytest.mark.parametrize("given", [False, True])
def test_the_first_parameters_stand_for_the_starting_values(learned, given):
    rng = np.random.default_rng(1)
    generative = None
    if given:
        generative = LinearGaussian(
            rng.normal(size=(5, 3)),
            rng.normal(size=5),
            rng.uniform(0.02, 3, 5) * make().spread,
            rng.normal(size=3),
            rng.uniform(0.5, 2, 3),
        )
    program = make_program(make_data(), make(learned=learned).config, generative)
    found = generative_of(program, initial_params(program, seed=0)).as_dict()
    for name, value in (generative or program.start).as_dict().items():
        np.testing.assert_allclose(found[name], value, rtol=1e-13, atol=1e-13)


def test_noise_below_the_floor_starts_just_above_it():
    generative = LinearGaussian(np.ones((5, 3)), noise_scale=1e-9)
    program = make_program(make_data(), make(learned=("noise_scale",)).config, generative)
    found = generative_of(program, initial_params(program, seed=0))
    np.testing.assert_allclose(found.noise_scale, LEAST_NOISE * program.spread)
    np.testing.assert_array_equal(generative_of(make(), {}).noise_scale, make().start.noise_scale)
