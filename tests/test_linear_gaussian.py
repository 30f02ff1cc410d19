"""The closed forms against brute-force integration, SciPy, Monte Carlo and 50-digit arithmetic.

The references condition the joint Gaussian of (a, x), in covariance form; the code under test works
with precisions. Monte Carlo estimates must lie within 5 standard errors (6e-7 for one number to fail
by chance; the seeds are fixed).
"""

import tracemalloc
from contextlib import contextmanager

import hypothesis.strategies as st
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import optimize, stats

from twinplate.errors import InputError
from twinplate.linear_gaussian import Gaussian, LinearGaussian

NAN = float("nan")


def make_model(num_features: int, num_components: int, seed: int) -> LinearGaussian:
    """Nothing is zero, one or equal: a shifted and scaled prior, heteroscedastic noise."""
    rng = np.random.default_rng(seed)
    return LinearGaussian(
        loadings=rng.normal(size=(num_features, num_components)),
        intercept=rng.normal(size=num_features),
        noise_scale=rng.uniform(0.3, 1.5, num_features),
        loc=rng.normal(size=num_components),
        scale=rng.uniform(0.4, 2.0, num_components),
    )


def make_items(num_items: int, num_features: int, seed: int) -> np.ndarray:
    """Items of which each entry is missing with probability ½."""
    rng = np.random.default_rng([1, seed])
    x = 2 * rng.normal(size=(num_items, num_features))
    x[rng.random(x.shape) < 0.5] = NAN
    return x


def make_guide(num_items: int, num_components: int, seed: int) -> Gaussian:
    rng = np.random.default_rng([2, seed])
    tril = np.tril(0.5 * rng.normal(size=(num_items, num_components, num_components)), -1)
    scales = rng.uniform(0.3, 1.2, (num_items, num_components))
    tril = tril + scales[:, :, None] * np.eye(num_components)
    return Gaussian(rng.normal(size=scales.shape), tril)


def marginal(model: LinearGaussian) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of x."""
    covariance = model.loadings @ np.diag(model.scale**2) @ model.loadings.T
    mean = model.loadings @ model.loc + model.intercept
    return mean, covariance + np.diag(model.noise_scale**2)


def dense_posterior(model: LinearGaussian, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a | observed x, by the gain Cov(a, x) Cov(x)⁻¹."""
    seen = ~np.isnan(item)
    mean, covariance = marginal(model)
    cross = np.diag(model.scale**2) @ model.loadings[seen].T
    gain = cross @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    return model.loc + gain @ (item - mean)[seen], np.diag(model.scale**2) - gain @ cross.T


def log_joint(model: LinearGaussian, item: np.ndarray, a: np.ndarray) -> np.ndarray:
    """log p(observed x, a) for `a` (..., K)."""
    seen = ~np.isnan(item)
    mean = (a @ model.loadings.T + model.intercept)[..., seen]
    likelihood = stats.norm.logpdf(item[seen], mean, model.noise_scale[seen])
    return likelihood.sum(-1) + stats.norm.logpdf(a, model.loc, model.scale).sum(-1)


def dense_kl(mean, covariance, other_mean, other_covariance) -> float:
    """KL between two Gaussians, the textbook formula."""
    inverse = np.linalg.inv(other_covariance)
    delta = other_mean - mean
    ratio = np.linalg.det(other_covariance) / np.linalg.det(covariance)
    trace = np.trace(inverse @ covariance)
    return 0.5 * (trace + delta @ inverse @ delta - len(mean) + np.log(ratio))


def assert_mean_is(draws: np.ndarray, expected: float) -> None:
    error = draws.std(ddof=1) / np.sqrt(len(draws))
    assert abs(draws.mean() - expected) < 5 * error


@contextmanager
def traced():
    """Yields the peak of what was allocated meanwhile, in MB, NumPy's arrays included."""
    tracemalloc.start()
    try:
        yield lambda: peak / 2**20
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@pytest.mark.parametrize("num_components", [1, 2])
def test_brute_force_integration(num_components):
    """The trapezoidal rule, which converges geometrically here, over 14 prior scales each way."""
    model = make_model(3, num_components, seed=3)
    x = np.array([[0.3, -1.2, 2.0], [NAN, 0.4, NAN], [1.5, NAN, -0.2], [NAN, NAN, NAN]])
    exact, evidence = model.posterior(x), model.log_evidence(x)
    axes = [m + s * np.linspace(-14, 14, 801) for m, s in zip(model.loc, model.scale, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, num_components)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    for i, item in enumerate(x):
        density = np.exp(log_joint(model, item, grid)) * cell
        total = density.sum()
        assert np.log(total) == pytest.approx(evidence[i], rel=1e-11, abs=1e-12)
        mean = density @ grid / total
        np.testing.assert_allclose(exact.loc[i], mean, rtol=1e-11)
        covariance = (density[:, None] * (grid - mean)).T @ (grid - mean) / total
        np.testing.assert_allclose(exact.covariance[i], covariance, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("num_features", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("num_components", [1, 2, 4, 9])
def test_against_scipy_and_the_conditioned_joint(num_features, num_components):
    model = make_model(num_features, num_components, seed=num_features)
    x = make_items(20, num_features, seed=num_components)
    x[0], x[1] = 1.0, np.where(np.arange(num_features) == num_features // 2, 0.7, NAN)
    exact, evidence = model.posterior(x), model.log_evidence(x)
    assert exact.loc.shape == (20, num_components) and evidence.shape == (20,)
    mean, covariance = marginal(model)
    for i, item in enumerate(x):
        seen = ~np.isnan(item)
        if seen.any():
            dense = stats.multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)])
            assert evidence[i] == pytest.approx(dense.logpdf(item[seen]), rel=1e-12)
        dense_loc, dense_covariance = dense_posterior(model, item)
        np.testing.assert_allclose(exact.loc[i], dense_loc, atol=1e-12)
        np.testing.assert_allclose(exact.covariance[i], dense_covariance, atol=1e-12)
        inverse = np.linalg.inv(dense_covariance)
        np.testing.assert_allclose(model.precision(x)[i], inverse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_precision_a_few_rows_at_a_time(monkeypatch, rows):
    """Wᵀ diag(observed / noise²) W of one item after the other; 7 rows in blocks of 1, or of 3, 3 and 1."""
    monkeypatch.setattr("twinplate.linear_gaussian.fitting", lambda *_: rows)
    model, x = make_model(5, 7, seed=0), make_items(6, 5, seed=0)
    for found, item in zip(model.precision(x), x, strict=True):
        seen = ~np.isnan(item)
        gram = model.loadings[seen].T / model.noise_scale[seen] ** 2 @ model.loadings[seen]
        np.testing.assert_allclose(
            found, gram + np.diag(model.scale**-2), rtol=1e-13, atol=1e-13 * np.abs(gram).max()
        )


def test_many_components_and_features_fit_into_memory():
    """K = 512, D = 1,024: no outer products of all features, 2 GB; a matrix of an item is 2 MB."""
    model, x = make_model(1024, 512, seed=0), make_items(2, 1024, seed=0)
    with traced() as peak_mb:
        exact = model.posterior(x)
    assert peak_mb() < 100
    identity = exact.scale_tril.mT @ model.precision(x) @ exact.scale_tril
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(512), (2, 512, 512)), atol=1e-9)


def test_numbers_of_many_items_fit_into_memory(monkeypatch):
    """4,000 items of which a matrix takes 8 kB: 33 MB each time; in blocks of 100 there is no such array."""
    model, x = make_model(4, 32, seed=0), make_items(4000, 4, seed=0)
    guide = model.best_diagonal(x)
    numbers = {
        "evidence": lambda: model.log_evidence(x),
        "kl": lambda: model.kl_to_posterior(x, guide),
        "gap": lambda: model.family_gap(x, "diagonal"),
    }
    whole = {name: number() for name, number in numbers.items()}
    monkeypatch.setattr("twinplate.linear_gaussian.MATRIX_BYTES", 100 * 8 * 32**2)
    for name, number in numbers.items():
        with traced() as peak_mb:
            found = number()
        np.testing.assert_allclose(found, whole[name], rtol=1e-11, err_msg=name)
        assert peak_mb() < 10, name


def test_an_item_without_any_entry_leaves_the_prior():
    model = make_model(4, 3, seed=0)
    x = np.full((1, 4), NAN)
    assert model.log_evidence(x)[0] == pytest.approx(0, abs=1e-15)
    np.testing.assert_array_equal(model.posterior(x).loc[0], model.loc)
    np.testing.assert_allclose(model.posterior(x).scale_tril[0], np.diag(model.scale), rtol=1e-15)


def test_scale_tril_is_the_cholesky_factor():
    model, x = make_model(6, 4, seed=1), make_items(10, 6, seed=1)
    exact = model.posterior(x)
    assert np.all(np.diagonal(exact.scale_tril, axis1=1, axis2=2) > 0)
    expected = np.linalg.cholesky(np.stack([dense_posterior(model, item)[1] for item in x]))
    np.testing.assert_allclose(exact.scale_tril, expected, atol=1e-13)


def test_scale_tril_is_exactly_lower_triangular():
    exact = make_model(6, 4, seed=1).posterior(make_items(10, 6, seed=1))
    np.testing.assert_array_equal(np.triu(exact.scale_tril, 1), 0)


def test_correlation():
    guide = make_guide(3, 4, seed=0)
    for tril, correlation in zip(guide.scale_tril, guide.correlation, strict=True):
        expected = stats.Covariance.from_cholesky(tril).covariance
        sd = np.sqrt(np.diag(expected))
        np.testing.assert_allclose(correlation, expected / np.outer(sd, sd), rtol=1e-14)


@pytest.mark.parametrize("num_components", [1, 3])
def test_kl_against_the_textbook_formula(num_components):
    model, x = make_model(5, num_components, seed=2), make_items(6, 5, seed=2)
    guide = make_guide(6, num_components, seed=2)
    kl = model.kl_to_posterior(x, guide)
    for i, item in enumerate(x):
        expected = dense_kl(guide.loc[i], guide.covariance[i], *dense_posterior(model, item))
        assert kl[i] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(model.kl_to_posterior(x, model.posterior(x)), 0, atol=1e-13)


def test_kl_and_elbo_against_monte_carlo():
    model, x, guide = make_model(4, 2, seed=4), make_items(3, 4, seed=4), make_guide(3, 2, seed=4)
    kl, elbo = model.kl_to_posterior(x, guide), model.expected_elbo(x, guide)
    rng = np.random.default_rng(0)
    for i, item in enumerate(x):
        q = stats.multivariate_normal(guide.loc[i], guide.covariance[i])
        a = q.rvs(200_000, random_state=rng)
        log_posterior = stats.multivariate_normal(*dense_posterior(model, item)).logpdf(a)
        assert_mean_is(q.logpdf(a) - log_posterior, kl[i])
        assert_mean_is(log_joint(model, item, a) - q.logpdf(a), elbo[i])


def test_elbo_of_the_exact_posterior_is_the_evidence_and_of_others_less():
    model, x, guide = make_model(4, 2, seed=5), make_items(8, 4, seed=5), make_guide(8, 2, seed=5)
    evidence = model.log_evidence(x)
    np.testing.assert_allclose(model.expected_elbo(x, model.posterior(x)), evidence, rtol=1e-13)
    assert np.all(model.expected_elbo(x, guide) < evidence)


def test_family_gap_is_the_minimum_over_diagonal_gaussians():
    """BFGS on the textbook KL, from two starts; what it finds is the closed-form guide."""
    model, x = make_model(5, 3, seed=6), make_items(4, 5, seed=6)
    best, gap = model.best_diagonal(x), model.family_gap(x, "diagonal")
    assert np.all(best.scale_tril * (1 - np.eye(3)) == 0)
    for i, item in enumerate(x):
        exact = dense_posterior(model, item)
        for start in (np.zeros(6), np.full(6, 0.5)):
            found = optimize.minimize(
                lambda v, exact=exact: dense_kl(v[:3], np.diag(np.exp(2 * v[3:])), *exact),
                start,
                options={"gtol": 1e-7},
            )
            assert found.fun == pytest.approx(gap[i], abs=1e-10)
            np.testing.assert_allclose(found.x[:3], best.loc[i], atol=1e-5)
            np.testing.assert_allclose(np.exp(found.x[3:]), np.diag(best.scale_tril[i]), atol=1e-5)


def test_family_gap_is_what_the_best_diagonal_guide_misses():
    model, x = make_model(5, 3, seed=7), make_items(10, 5, seed=7)
    best, gap = model.best_diagonal(x), model.family_gap(x, "diagonal")
    np.testing.assert_allclose(model.kl_to_posterior(x, best), gap, rtol=1e-12, atol=1e-14)
    missed = model.log_evidence(x) - model.expected_elbo(x, best)
    np.testing.assert_allclose(missed, gap, rtol=1e-12, atol=1e-13)
    assert gap.max() > 0.1


def test_family_gaps_of_other_families_and_of_orthogonal_loadings():
    model, x = make_model(5, 3, seed=8), make_items(4, 5, seed=8)
    assert model.family_gap(x, "full").tolist() == [0, 0, 0, 0]
    with pytest.raises(InputError, match=r"'low-rank'.*'full' or 'diagonal'"):
        model.family_gap(x, "low-rank")
    orthogonal = LinearGaussian([[2, 0], [0, 3]], 1.0, [0.5, 0.7], scale=[1, 2])
    np.testing.assert_allclose(orthogonal.family_gap([[1, 2], [3, NAN]], "diagonal"), 0, atol=1e-15)


def test_simulated_moments():
    """56 means and covariances of (a, x): 6 standard errors each, together 1e-7 to fail by chance."""
    model, n = make_model(6, 3, seed=9), 200_000
    x, a = model.simulate(n, np.random.default_rng(0))
    assert x.shape == (n, 6) and a.shape == (n, 3)
    again, _ = model.simulate(n, np.random.default_rng(0))
    np.testing.assert_array_equal(x, again)
    joint = np.hstack([a, x])
    mean_x, covariance_x = marginal(model)
    mean = np.concatenate([model.loc, mean_x])
    cross = np.diag(model.scale**2) @ model.loadings.T
    covariance = np.block([[np.diag(model.scale**2), cross], [cross.T, covariance_x]])
    variance = np.diag(covariance)
    assert np.all(np.abs(joint.mean(0) - mean) < 6 * np.sqrt(variance / n))
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert np.all(np.abs((joint - mean).T @ (joint - mean) / n - covariance) < 6 * error)


def test_reconstruct_by_dense_formulas():
    model, guide = make_model(5, 3, seed=10), make_guide(4, 3, seed=10)
    mean, sd = model.reconstruct(guide)
    for i in range(4):
        spread = model.loadings @ guide.covariance[i] @ model.loadings.T
        expected = np.diag(spread + np.diag(model.noise_scale**2))
        np.testing.assert_allclose(sd[i] ** 2, expected, rtol=1e-13)
        expected = model.loadings @ guide.loc[i] + model.intercept
        np.testing.assert_allclose(mean[i], expected, rtol=1e-13)


def test_reconstructed_features_are_conditioned_on_the_observed_ones():
    model = make_model(5, 3, seed=11)
    x = np.array([[0.2, NAN, -1.0, NAN, 2.0]])
    mean, sd = model.reconstruct(model.posterior(x))
    m, c = marginal(model)
    seen = np.array([True, False, True, False, True])
    gain = c[np.ix_(~seen, seen)] @ np.linalg.inv(c[np.ix_(seen, seen)])
    np.testing.assert_allclose(mean[0, ~seen], m[~seen] + gain @ (x[0] - m)[seen], rtol=1e-12)
    conditional = c[np.ix_(~seen, ~seen)] - gain @ c[np.ix_(seen, ~seen)]
    np.testing.assert_allclose(sd[0, ~seen] ** 2, np.diag(conditional), rtol=1e-12)


SIZES = {"d": st.integers(1, 7), "k": st.integers(1, 5), "seed": st.integers(0, 2**32)}


@settings(deadline=None)
@given(**SIZES)
def test_evidence_is_the_product_of_conditionals(d, k, seed):
    """log p(x) = Σ log p(x_d | x_1 … x_{d-1}), each factor a prediction for a hidden feature."""
    model, x = make_model(d, k, seed), make_items(3, d, seed)
    total = np.zeros(3)
    for j in range(d):
        mean, sd = model.reconstruct(model.posterior(np.where(np.arange(d) < j, x, NAN)))
        total += np.nan_to_num(stats.norm.logpdf(x[:, j], mean[:, j], sd[:, j]))
    np.testing.assert_allclose(model.log_evidence(x), total, rtol=1e-10, atol=1e-11)


@settings(deadline=None)
@given(**SIZES)
def test_permuted_items_features_and_components_give_permuted_results(d, k, seed):
    model, x = make_model(d, k, seed), make_items(4, d, seed)
    rng = np.random.default_rng(seed)
    n, d, k = (rng.permutation(size) for size in (4, d, k))
    by_feature = (model.loadings[np.ix_(d, k)], model.intercept[d], model.noise_scale[d])
    permuted = LinearGaussian(*by_feature, model.loc[k], model.scale[k])
    y = x[np.ix_(n, d)]
    close = {"rtol": 1e-10, "atol": 1e-11}
    np.testing.assert_allclose(permuted.log_evidence(y), model.log_evidence(x)[n], **close)
    exact, expected = permuted.posterior(y), model.posterior(x)
    np.testing.assert_allclose(exact.loc, expected.loc[n][:, k], **close)
    np.testing.assert_allclose(exact.covariance, expected.covariance[n][:, k][:, :, k], **close)
    gaps = (m.family_gap(v, "diagonal") for m, v in ((permuted, y), (model, x)))
    np.testing.assert_allclose(next(gaps), next(gaps)[n], **close)


def test_one_item_one_feature_one_component():
    """By hand: w = 2, noise 0.5, prior N(1, 3²), b = -1, x = 4."""
    model, x = LinearGaussian([[2]], -1, 0.5, 1, 3), [[4.0]]
    precision = 1 / 9 + 4 / 0.25
    exact = model.posterior(x)
    assert exact.scale_tril.item() == pytest.approx(precision**-0.5, rel=1e-15)
    assert exact.loc.item() == pytest.approx((1 / 9 + 2 * 5 / 0.25) / precision, rel=1e-15)
    variance = 4 * 9 + 0.25
    by_hand = -0.5 * (np.log(2 * np.pi * variance) + (4 - 1) ** 2 / variance)
    assert model.log_evidence(x).item() == pytest.approx(by_hand, rel=1e-15)


def fifty_digits(model: LinearGaussian, item: np.ndarray):
    """Log evidence, posterior mean and covariance of a complete item, to 50 decimal digits."""
    mp = mpmath.mp.clone()
    mp.dps = 50
    w, b, noise, loc, scale = (mp.matrix(value.tolist()) for value in model.as_dict().values())
    prior = mp.diag([s**2 for s in scale])
    covariance = w * prior * w.T + mp.diag([s**2 for s in noise])
    inverse, delta = mp.inverse(covariance), mp.matrix(item.tolist()) - w * loc - b
    evidence = -((delta.T * inverse * delta)[0] + mp.log(mp.det(2 * mp.pi * covariance))) / 2
    gain = prior * w.T * inverse
    return evidence, loc + gain * delta, prior - gain * w * prior


@pytest.mark.parametrize(
    ("apart", "condition", "evidence_error", "mean_error", "covariance_error"),
    [(1e-3, 1e6, 1e-10, 2e-7, 5e-9), (1e-6, 1e8, 1e-8, 1e-6, 1e-6)],
)
@pytest.mark.parametrize("seed", range(4))
def test_against_fifty_digits(apart, condition, evidence_error, mean_error, covariance_error, seed):
    """Noise 1e-4 and two loadings `apart` from each other: where double precision ends.

    Reached in the worst of the four seeds, loadings 1e-3 and 1e-6 apart: log evidence relative
    2e-11 and 2e-9; mean in posterior standard deviations 3e-8 and 1.4e-7; covariance, likewise
    scaled, 9e-10 and 1.2e-7. The bounds leave a factor of 5 to 8 for another BLAS.
    """
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(6, 1))
    loadings = np.hstack([w, w + apart * rng.normal(size=(6, 1)), rng.normal(size=(6, 1))])
    model = LinearGaussian(loadings, rng.normal(size=6), 1e-4, rng.normal(size=3), [0.5, 1, 2])
    x, _ = model.simulate(1, rng)
    assert np.linalg.cond(model.precision(x)[0]) > condition
    evidence, loc, covariance = fifty_digits(model, x[0])
    assert abs(model.log_evidence(x).item() / evidence - 1) < evidence_error
    exact = model.posterior(x)
    sd = [covariance[i, i] ** 0.5 for i in range(3)]
    for i in range(3):
        assert abs(exact.loc[0, i].item() - loc[i]) < mean_error * sd[i]
        for j in range(3):
            error = abs(exact.covariance[0, i, j].item() - covariance[i, j])
            assert error < covariance_error * sd[i] * sd[j]


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"loadings": [1, 2]}, ["loadings", "(2,)", "(D, K)"]),
        ({"loadings": np.ones((3, 2, 1))}, ["loadings", "(3, 2, 1)", "(D, K)"]),
        ({"intercept": np.ones(2)}, ["intercept", "(2,)", "(3,)", "scalar"]),
        ({"noise_scale": np.ones((3, 1))}, ["noise_scale", "(3, 1)", "(3,)"]),
        ({"loc": np.ones(3)}, ["loc", "(3,)", "(2,)"]),
        ({"scale": np.ones(3)}, ["scale", "(3,)", "(2,)"]),
        ({"loadings": [[1, 2], [3, 4], [5, NAN]]}, ["loadings", "not finite"]),
        ({"intercept": [0, np.inf, 0]}, ["intercept", "not finite"]),
        ({"noise_scale": NAN}, ["noise_scale", "not finite"]),
        ({"loc": -np.inf}, ["loc", "not finite"]),
        ({"noise_scale": [1, 0, 1]}, ["noise_scale", "minimum 0", "positive"]),
        ({"scale": [1, -2]}, ["scale", "minimum -2", "positive"]),
    ],
)
def test_refused_parameters(arguments, fragments):
    with pytest.raises(InputError) as caught:
        LinearGaussian(**{"loadings": np.ones((3, 2)), **arguments})
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value


@pytest.mark.parametrize("x", [np.ones(3), np.ones((3, 2)), np.ones((1, 2, 3))])
def test_refused_items(x):
    model, guide = LinearGaussian(np.ones((3, 2))), make_guide(2, 2, seed=0)
    alone = (model.precision, model.posterior, model.log_evidence, model.best_diagonal)
    for method, *more in (
        *((method,) for method in alone),
        *((model.family_gap, covariance) for covariance in ("full", "diagonal")),
        *((method, guide) for method in (model.kl_to_posterior, model.expected_elbo)),
    ):
        with pytest.raises(InputError, match=r"expected \(N, D\) with D = 3") as caught:
            method(x, *more)
        assert str(x.shape) in str(caught.value)


def test_scalars_broadcast_and_the_arrays_are_copies():
    loadings, intercept = np.ones((3, 2)), np.zeros(3)
    model = LinearGaussian(loadings, intercept, noise_scale=2, loc=[0.5], scale=3)
    assert (model.num_features, model.num_components) == (3, 2)
    expected = [[[1, 1]] * 3, [0, 0, 0], [2, 2, 2], [0.5, 0.5], [3, 3]]
    assert list(model.as_dict()) == ["loadings", "intercept", "noise_scale", "loc", "scale"]
    assert [value.tolist() for value in model.as_dict().values()] == expected
    loadings[0], intercept[0] = 7, 7
    assert [value.tolist() for value in model.as_dict().values()] == expected
