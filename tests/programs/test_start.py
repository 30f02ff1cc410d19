"""Where the generative parameters start: at maximum likelihood, against closed forms and other optimisers."""

import numpy as np
import pytest
import scipy.linalg
from program_cases import make_data, refusal
from scipy.optimize import minimize

from twinplate import InputError, ProgramConfig, make_program
from twinplate.data.statistics import read_statistics
from twinplate.programs import start as module
from twinplate.programs.factor_analysis import _starts, factor_analysis
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.start import LEAST_NOISE, completed_start, likely_start


def start_of(x: np.ndarray, num_components: int) -> LinearGaussian:
    return likely_start(x, num_components, read_statistics(x))


def draw(num_items, num_features, true, noise, missing=0.0, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(num_features, true))
    scale = noise * rng.uniform(0.5, 1.5, num_features)
    x = rng.normal(size=(num_items, true)) @ loadings.T
    x += scale * rng.normal(size=x.shape)
    x[rng.random(x.shape) < missing] = np.nan
    return x * 10.0 ** rng.uniform(-4, 4, num_features)


def test_it_is_probabilistic_pca_where_the_noise_is_isotropic():
    """Tipping and Bishop (1999). Columns of a Hadamard matrix: a standardised covariance W Wᵀ + σ² I.

    The data have it exactly, so that the mean log evidence is the largest that any Gaussian reaches,
    -½ (D log 2π + log det S + D), and W are the leading eigenvectors times √(λ - σ²).
    """
    strengths, noise = np.array([0.6, 0.5, 0.3]), np.sqrt(1 - 0.36 - 0.25 - 0.09)
    w = scipy.linalg.hadamard(8)[:, [1, 2, 4]] * strengths
    covariance = w @ w.T + noise**2 * np.eye(8)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 8))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / 500)).T @ np.linalg.cholesky(covariance).T
    spread, center = 10.0 ** rng.uniform(-2, 2, 8), rng.normal(size=8)
    x = center + spread * z
    start = start_of(x, 3)
    log_det = np.linalg.slogdet(covariance)[1] + 2 * np.sum(np.log(spread))
    best = -0.5 * (8 * np.log(2 * np.pi) + log_det + 8)
    assert start.log_evidence(x).mean() == pytest.approx(best, abs=1e-6)
    signs = np.sign(start.loadings[0] / w[0])
    np.testing.assert_allclose(start.loadings / spread[:, None] * signs, w, atol=2e-3)
    np.testing.assert_allclose(start.noise_scale / spread, noise, rtol=2e-3)


@pytest.mark.parametrize(
    ("noise", "true", "num_components"), [(0.01, 2, 2), (0.5, 2, 5), (2.0, 3, 3), (0.5, 4, 2)]
)
def test_the_evidence_is_that_of_scikit_learn(noise, true, num_components):
    """Its FactorAnalysis, which stops a little below the maximum; and no noise is near its floor."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = draw(400, 10, true, noise)
    start, (center, spread) = start_of(x, num_components), (x.mean(0), x.std(0))
    z = (x - center) / spread
    method = {"svd_method": "lapack", "tol": 1e-4, "max_iter": 3000}
    other = decomposition.FactorAnalysis(num_components, **method).fit(z)
    reached = start.log_evidence(x).mean() + np.log(spread).sum()
    assert reached > other.score(z) - 2e-3
    assert (start.noise_scale / spread).min() > 2 * LEAST_NOISE


@pytest.mark.parametrize("seed", [14, 31, 38])
def test_it_is_the_highest_of_several_maxima(seed):
    """2 components of 5: SciPy, on the density itself, from thirty starts; one start of ours may miss."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 12)) + rng.normal(size=(200, 12))
    z = (x - x.mean(0)) / x.std(0)
    covariance = z.T @ z / len(z)

    def negative(numbers):
        """By Σ = W Wᵀ + Ψ: ½ (log det Σ + tr Σ⁻¹ S), and its gradient in W and log Ψ."""
        loadings, log_noise = numbers[:24].reshape(12, 2), numbers[24:]
        precision = np.linalg.inv(loadings @ loadings.T + np.diag(np.exp(log_noise)))
        value = np.sum(precision * covariance) - np.linalg.slogdet(precision)[1]
        by_covariance = precision - precision @ covariance @ precision
        by_noise = np.diag(by_covariance) * np.exp(log_noise)
        return 0.5 * value, np.concatenate([(by_covariance @ loadings).ravel(), 0.5 * by_noise])

    starts = (np.concatenate([rng.normal(size=24), np.log(rng.random(12))]) for _ in range(30))
    best = min(minimize(negative, one, jac=True, method="L-BFGS-B").fun for one in starts)
    evidence = start_of(z, 2).log_evidence(z).mean()
    # The prior of the noise, a tenth of an item's, keeps a little away from noise of zero.
    assert evidence > -best - 6 * np.log(2 * np.pi) - 5e-3
    single = [
        factor_analysis(covariance, 2, 200, LEAST_NOISE, first=one)
        for one in _starts(covariance, 2)
    ]
    reached = [LinearGaussian(w, 0.0, noise).log_evidence(z).mean() for w, noise in single]
    assert min(reached) < evidence - 0.01


@pytest.mark.parametrize("noise", [0.05, 0.7])
def test_scipy_finds_no_better_where_entries_are_missing(noise):
    """BFGS with numerical gradients, on the closed form of the evidence, from the start that was found."""
    x = draw(120, 4, 1, noise, missing=0.25)
    x /= np.nanstd(x, axis=0)
    start = start_of(x, 1)

    def negative(numbers):
        loadings, intercept, log_noise = np.split(numbers, 3)
        model = LinearGaussian(
            start.loadings + start.noise_scale[:, None] * loadings[:, None],
            start.intercept + start.noise_scale * intercept,
            start.noise_scale * np.exp(log_noise),
        )
        return -model.log_evidence(x).mean()

    found = minimize(negative, np.zeros(12), method="BFGS")
    assert found.success or found.nit
    assert -found.fun - start.log_evidence(x).mean() < 1e-3


def test_no_step_lowers_the_evidence(monkeypatch):
    x = draw(300, 6, 2, 0.3, missing=0.3)
    models, expected = [], module._expected_moments

    def noted(z, model):
        models.append(model.log_evidence(z).mean())
        return expected(z, model)

    monkeypatch.setattr(module, "_expected_moments", noted)
    start_of(x, 2)
    assert len(models) > 3
    assert np.all(np.diff(models) > -1e-6)
    assert models[-1] > models[0] + 1e-4


def test_it_follows_the_units_of_every_feature():
    x, units, shift = make_data(), np.array([1e-3, 1, 7, 100, 1e4]), np.arange(5.0)
    start, scaled = start_of(x, 2), start_of(x * units + shift, 2)
    product = scaled.loadings @ scaled.loadings.T
    expected = start.loadings @ start.loadings.T * np.outer(units, units)
    np.testing.assert_allclose(product, expected, rtol=1e-4)
    np.testing.assert_allclose(scaled.intercept, start.intercept * units + shift, rtol=1e-12)
    np.testing.assert_allclose(scaled.noise_scale, start.noise_scale * units, rtol=1e-4)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_the_mean_posterior_precision_is_diagonal(missing):
    x = draw(200, 6, 3, 0.5, missing)
    precision = start_of(x, 3).precision(x).mean(0)
    scale = np.sqrt(np.diag(precision))
    np.testing.assert_allclose(precision / np.outer(scale, scale), np.eye(3), atol=1e-6)


@pytest.mark.parametrize(("num_items", "num_components"), [(30, 5), (2, 2), (3, 2), (1, 1)])
def test_it_is_sound_at_the_limits(num_items, num_components):
    """As many components as features or items: the noise keeps its floor, no loading is lost."""
    start = start_of(make_data(num_items), num_components)
    spread = make_data(num_items).std(0) if num_items > 1 else np.ones(5)
    assert np.all(start.noise_scale >= LEAST_NOISE * spread * (1 - 1e-12))
    assert np.all(np.linalg.norm(start.loadings, axis=0) > 0)


def test_more_components_than_items_or_features_are_refused():
    assert "num_components is 6" in refusal(start_of, make_data(), 6)
    assert "= 5" in refusal(start_of, make_data(), 6)
    assert "min(items, features) = 2" in refusal(start_of, make_data(2), 3)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize(
    "learned", [("intercept", "noise_scale"), ("noise_scale",), ("intercept",)]
)
def test_what_is_given_stays_and_the_rest_is_at_its_maximum(learned, missing):
    """Moving the rest in any direction does not raise the evidence; SciPy's BFGS looks for one."""
    x = draw(150, 4, 1, 0.4, missing)
    x = (x - np.nanmean(x, 0)) / np.nanstd(x, 0) + 3.0
    given = LinearGaussian(np.full((4, 1), 0.5), 2.0, 0.7, loc=0.3, scale=1.5)
    found = completed_start(x, given, learned, read_statistics(x))
    for name, value in given.as_dict().items():
        assert np.array_equal(getattr(found, name), value) == (name not in learned), name

    def negative(numbers):
        moved = found.as_dict()
        for name, part in zip(learned, np.split(numbers, len(learned)), strict=True):
            moved[name] = (
                moved[name] * np.exp(part) if name == "noise_scale" else moved[name] + part
            )
        return -LinearGaussian(**moved).log_evidence(x).mean()

    best = minimize(negative, np.zeros(4 * len(learned)), method="BFGS")
    assert negative(np.zeros(4 * len(learned))) - best.fun < 1e-3


def test_a_feature_that_nobody_measured_is_named():
    x = np.random.default_rng(0).normal(size=(9, 3))
    x[:, 1] = np.nan
    with pytest.raises(InputError, match="x has no entry in column 2; leave out"):
        make_program(x, ProgramConfig(3, 1))
