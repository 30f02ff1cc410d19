"""What a measurement would be: means, spreads and quantiles against SciPy and against draws."""

import numpy as np
import pytest
import scipy

from twinplate import CountPrediction, InputError

CONCENTRATION = {"poisson": None, "negative-binomial": np.array([2.0])}


@pytest.mark.parametrize("likelihood", CONCENTRATION)
def test_quantiles_of_a_known_predictor_are_scipys(likelihood):
    loc = np.array([[-2.0], [0.0], [3.0], [9.0]])
    concentration, mean = CONCENTRATION[likelihood], np.exp(loc)
    found = CountPrediction(likelihood, np.full(loc.shape, np.nan), loc, 0 * loc, concentration)
    known = scipy.stats.poisson(mean)
    if concentration is not None:
        known = scipy.stats.nbinom(concentration, concentration / (concentration + mean))
    np.testing.assert_array_equal(found.interval(0.9), (known.ppf(0.05), known.ppf(0.95)))
    np.testing.assert_allclose(found.mean, known.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.scale, known.std(), rtol=1e-9)


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "bernoulli"])
def test_a_predictor_that_is_not_known_is_integrated_over(likelihood):
    size, loc, spread = 400_000, 1.0, 0.7
    rng = np.random.default_rng(0)
    eta = loc + spread * rng.standard_normal(size)
    mean = np.exp(eta)
    if likelihood == "bernoulli":
        drawn = rng.binomial(1, mean / (1 + mean))
    else:
        drawn = rng.poisson(mean if likelihood == "poisson" else mean * rng.gamma(2.0, 0.5, size))
    found = CountPrediction(
        likelihood,
        np.full((1, 1), np.nan),
        np.array([[loc]]),
        np.array([[spread]]),
        CONCENTRATION.get(likelihood),
    )
    error = drawn.std() / np.sqrt(size)
    assert found.mean[0, 0] == pytest.approx(drawn.mean(), abs=4 * error)
    assert found.scale[0, 0] == pytest.approx(drawn.std(), rel=0.01)
    for probability in (0.07, 0.5, 0.93):
        assert found.quantile(probability)[0, 0] == np.quantile(
            drawn, probability, method="inverted_cdf"
        )
    ours = found.sample(20_000)
    assert ours.shape == (20_000, 1, 1) and (ours == np.floor(ours)).all()
    assert ours.mean() == pytest.approx(drawn.mean(), abs=5 * drawn.std() / np.sqrt(20_000))


def test_observed_entries_stay_and_a_level_is_a_probability():
    found = CountPrediction(
        "poisson", np.array([[7.0, np.nan]]), np.zeros((1, 2)), np.zeros((1, 2))
    )
    assert found.imputed.tolist() == [[7.0, 1.0]]
    with pytest.raises(InputError, match="level is 90"):
        found.interval(90)


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "bernoulli"])
def test_residuals_of_what_the_prediction_draws_are_standard_normal(likelihood):
    rng = np.random.default_rng(0)
    concentration = np.array([2.0, 5.0]) if likelihood == "negative-binomial" else None
    loc, spread = rng.normal(size=(4000, 2)), rng.uniform(0.1, 0.8, (4000, 2))
    found = CountPrediction(likelihood, np.full((4000, 2), np.nan), loc, spread, concentration)
    x = found.sample(seed=1)[0]
    x[0, 0] = np.nan
    z = found.residuals(x)
    assert np.isnan(z[0, 0]) and np.isnan(z).sum() == 1
    assert scipy.stats.kstest(z.ravel()[1:], "norm").pvalue > 0.01
    wide = CountPrediction(likelihood, found.x, loc + 0.5, spread, concentration)
    assert scipy.stats.kstest(wide.residuals(x).ravel()[1:], "norm").pvalue < 1e-6
