"""Parameters before training: names, shapes and first values; what principal components start from."""

import itertools

import mpmath
import numpy as np
import pytest
import scipy.linalg

from twinplate.config import ProgramConfig
from twinplate.errors import InputError
from twinplate.linear_gaussian import LinearGaussian
from twinplate.program import (
    NOISE_FLOOR,
    Program,
    check_params,
    generative_of,
    initial_params,
    make_program,
    noise_shapes,
    number_of,
    principal_start,
    prior_noise_shapes,
)

NAN = float("nan")
LEARNED = ("loadings", "intercept", "noise_scale")
SUBSETS = [s for n in range(4) for s in itertools.combinations(LEARNED, n)]

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
GUIDES = [("diagonal", "diagonal")] + [
    (guide, covariance)
    for guide in ("event", "auxiliary")
    for covariance in ("full", "diagonal", "low-rank")
]


def make_data(num_items=30, num_features=5, missing=0.0, seed=0) -> np.ndarray:
    """Correlated features in units that differ by orders of magnitude."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_items, 3)) @ rng.normal(size=(3, num_features))
    x = (x + 0.4 * rng.normal(size=x.shape)) * 10.0 ** np.arange(-2, num_features - 2)
    x[rng.random(x.shape) < missing] = NAN
    return x + np.arange(num_features)


def make(**config) -> Program:
    config = ProgramConfig(**{"num_features": 5, "num_components": 3, "hidden_width": 4, **config})
    return make_program(make_data(), config)


def refusal(function, *args) -> str:
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)


@pytest.mark.parametrize(("guide", "covariance"), GUIDES)
@pytest.mark.parametrize("encoder", ["mlp", "experts"])
@pytest.mark.parametrize("amplitude_scale", [None, 0.5])
def test_names_and_shapes(guide, covariance, encoder, amplitude_scale):
    """The table at the head of `twinplate.program` with D = 5, K = 3, R = 2, H = 4."""
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
        assert all(v.dtype == np.float64 for v in params.values())
        check_params(program, params)


def test_first_weights():
    """Variance 1 / fan-in to 5 standard errors (6e-7 for each of three to fail by chance)."""
    program = make(hidden_width=256, learned=LEARNED)
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
    program = Program(config, generative, np.zeros(500), np.ones(500))
    params = initial_params(program, seed=0)
    experts = params["encoder.experts"] * np.sqrt(500 / 4)
    assert abs(np.mean(experts**2) - 1) < 5 * np.sqrt(2 / 1500)
    assert not params["encoder.skip.weight"].any()


@pytest.mark.parametrize("encoder", ["mlp", "experts"])
@pytest.mark.parametrize("amplitude_scale", [None, 0.5])
def test_only_the_low_rank_factor_and_the_amplitude_start_with_a_bias(encoder, amplitude_scale):
    """The factor stands last (K·R = 6 numbers), before the two of the amplitude, which is its prior."""
    options = {"encoder": encoder, "amplitude_scale": amplitude_scale}
    bias = initial_params(make(covariance="low-rank", **options), 0)["encoder.out.bias"]
    if amplitude_scale is not None:
        assert bias[-2] == 0
        assert np.log1p((np.e - 1) * np.exp(bias[-1])) == pytest.approx(amplitude_scale, rel=1e-14)
        bias = bias[:-2]
    assert not bias[:-6].any()
    assert np.all(bias[-6:] != 0) and np.abs(bias[-6:]).max() < 0.5
    for covariance in ("full", "diagonal"):
        bias = initial_params(make(covariance=covariance, **options), 0)["encoder.out.bias"]
        assert not bias[: len(bias) - 2 * (amplitude_scale is not None)].any()


@pytest.mark.parametrize("value", [1e-30, 1e-6, 0.3, 1.0, 20.0, 1e6])
def test_number_of_is_the_inverse_of_what_makes_positive(value):
    number = mpmath.mpf(float(number_of(value)))
    found = mpmath.log1p((mpmath.e - 1) * mpmath.exp(number))
    assert float(found) == pytest.approx(value, rel=1e-13)


def test_first_values_belong_to_the_seed():
    program = make(covariance="low-rank", encoder="experts", learned=LEARNED)
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


# --------------------------------------------------------------------------- generative parameters


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
    for name, value in (generative or program.generative).as_dict().items():
        np.testing.assert_allclose(found[name], value, rtol=1e-13, atol=1e-13)


def test_generative_parameters_are_in_the_units_of_the_data():
    """The three formulas of the module, by hand, for parameters that were moved."""
    program = make(learned=LEARNED)
    rng = np.random.default_rng(2)
    raw = {"loadings": rng.normal(size=(5, 3)), "intercept": rng.normal(size=5)}
    raw["noise_scale"] = rng.normal(size=5)
    found = generative_of(program, {f"raw_{name}": value for name, value in raw.items()})
    center, spread = make_data().mean(0), make_data().std(0)
    np.testing.assert_allclose(found.loadings, np.diag(spread) @ raw["loadings"])
    np.testing.assert_allclose(found.intercept, center + spread * raw["intercept"])
    np.testing.assert_allclose(found.noise_scale, spread * (0.01 + np.exp(raw["noise_scale"])))
    np.testing.assert_array_equal(found.loc, program.generative.loc)
    np.testing.assert_array_equal(found.scale, program.generative.scale)


def test_noise_below_the_floor_starts_just_above_it():
    generative = LinearGaussian(np.ones((5, 3)), noise_scale=1e-9)
    program = make_program(make_data(), make(learned=("noise_scale",)).config, generative)
    found = generative_of(program, initial_params(program, seed=0))
    np.testing.assert_allclose(found.noise_scale, 1.1 * NOISE_FLOOR * program.spread)
    np.testing.assert_array_equal(
        generative_of(make(), {}).noise_scale, make().generative.noise_scale
    )


def test_a_program_goes_through_its_fixed_numbers():
    program = make(learned=("loadings",))
    assert set(program.fixed) == {*LEARNED, "loc", "scale", "center", "spread"}
    again = Program.from_fixed(program.config, program.fixed)
    assert again.config == program.config and again.fixed.keys() == program.fixed.keys()
    for name, value in program.fixed.items():
        np.testing.assert_array_equal(again.fixed[name], value)


def test_centre_and_spread_leave_out_missing_entries():
    x = make_data(missing=0.4)
    program = make_program(x, make().config)
    for j in range(5):
        column = x[~np.isnan(x[:, j]), j]
        np.testing.assert_allclose(program.center[j], column.mean(), rtol=1e-14)
        np.testing.assert_allclose(program.spread[j], column.std(), rtol=1e-13)


@pytest.mark.parametrize("value", [3.0, 0.7])
def test_a_constant_column_has_spread_one(value):
    x = make_data(num_items=1000)
    x[:, 1] = value
    program = make_program(x, make().config)
    assert program.spread[1] == 1
    assert program.center[1] == pytest.approx(value, rel=1e-13)
    assert program.generative.noise_scale[1] == pytest.approx(1, rel=1e-13)
    np.testing.assert_allclose(program.generative.loadings[1], 0, atol=1e-13)


# ------------------------------------------------------------------------------- principal start


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize("num_components", [1, 2, 4])
def test_loadings_are_those_of_probabilistic_pca(num_components):
    """scikit-learn's PCA of the standardised features; it divides variances by N - 1, not N."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = make_data(num_items=40, num_features=6)
    start = principal_start(x, num_components)
    pca = decomposition.PCA(num_components).fit(standardised(x))
    covariance = (pca.get_covariance() - pca.noise_variance_ * np.eye(6)) * 39 / 40
    loadings = start.loadings / x.std(0)[:, None]
    np.testing.assert_allclose(loadings @ loadings.T, covariance, atol=1e-12)
    gram = loadings.T @ loadings
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    np.testing.assert_allclose(start.intercept, x.mean(0), rtol=1e-13)
    assert (
        start.loc.tolist() == [0] * num_components and start.scale.tolist() == [1] * num_components
    )


@pytest.mark.parametrize("num_components", [1, 2, 4])
def test_the_noise_makes_up_the_variance_of_every_feature(num_components):
    x = make_data(num_items=40, num_features=6)
    start = principal_start(x, num_components)
    model_variance = np.sum(start.loadings**2, axis=1) + start.noise_scale**2
    np.testing.assert_allclose(model_variance, x.var(0), rtol=1e-12)


def test_it_is_the_maximum_of_the_likelihood_where_the_residual_is_isotropic():
    """Columns of a Hadamard matrix: a standardised covariance W Wᵀ + σ² I, which the data have exactly.

    There the fitted covariance is the sample's, so that the mean log evidence is the largest that any
    Gaussian reaches, -½ (D log 2π + log det S + D); 200 random perturbations stay below.
    """
    w = scipy.linalg.hadamard(8)[:, [1, 2, 4]] * [0.6, 0.5, 0.3]
    covariance = w @ w.T + (1 - 0.36 - 0.25 - 0.09) * np.eye(8)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 8))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / 50)).T @ np.linalg.cholesky(covariance).T
    spread, center = 10.0 ** rng.uniform(-2, 2, 8), rng.normal(size=8)
    x = center + spread * z
    start = principal_start(x, 3)
    log_det = np.linalg.slogdet(covariance)[1] + 2 * np.sum(np.log(spread))
    best = -0.5 * (8 * np.log(2 * np.pi) + log_det + 8)
    assert start.log_evidence(x).mean() == pytest.approx(best, rel=1e-11)
    for size in np.repeat([1e-3, 0.1], 100):
        near = LinearGaussian(
            start.loadings + size * spread[:, None] * rng.normal(size=(8, 3)),
            start.intercept + size * spread * rng.normal(size=8),
            start.noise_scale * np.exp(size * rng.normal(size=8)),
        )
        assert near.log_evidence(x).mean() < best


def test_it_follows_the_units_of_every_feature():
    x, units, shift = make_data(), np.array([1e-3, 1, 7, 100, 1e4]), np.arange(5.0)
    start, scaled = principal_start(x, 2), principal_start(x * units + shift, 2)
    product = scaled.loadings @ scaled.loadings.T
    expected = start.loadings @ start.loadings.T * np.outer(units, units)
    np.testing.assert_allclose(product, expected, rtol=1e-9)
    np.testing.assert_allclose(scaled.intercept, start.intercept * units + shift, rtol=1e-12)
    np.testing.assert_allclose(scaled.noise_scale, start.noise_scale * units, rtol=1e-11)


def test_missing_entries_stand_at_their_mean():
    x = make_data(missing=0.3)
    center, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    z = np.where(np.isnan(x), 0, (x - center) / spread)
    start = principal_start(x, 2)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    strengths = values[:-3:-1] - values[:-2].mean()
    product = (vectors[:, :-3:-1] * strengths) @ vectors[:, :-3:-1].T
    loadings = start.loadings / spread[:, None]
    np.testing.assert_allclose(loadings @ loadings.T, product, atol=1e-12)
    residual = np.sqrt(1 - np.diag(product))
    np.testing.assert_allclose(start.noise_scale, spread * residual, rtol=1e-12)


@pytest.mark.parametrize(("num_items", "num_components"), [(30, 5), (2, 2), (3, 2), (1, 1)])
def test_it_is_sound_at_the_limits(num_items, num_components):
    """As many components as features or items: the noise keeps twice its floor, no loading is lost."""
    start = principal_start(make_data(num_items), num_components)
    spread = make_data(num_items).std(0) if num_items > 1 else np.ones(5)
    assert np.all(start.noise_scale >= 2 * NOISE_FLOOR * spread * (1 - 1e-12))
    assert np.all(np.linalg.norm(start.loadings, axis=0) > 0)


def test_more_components_than_items_or_features_are_refused():
    assert "num_components is 6" in refusal(principal_start, make_data(), 6)
    assert "= 5" in refusal(principal_start, make_data(), 6)
    assert "min(items, features) = 2" in refusal(principal_start, make_data(2), 3)


# ---------------------------------------------------------------------------------- what is refused


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


# -------------------------------------------------------------------------------------- base noise


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
