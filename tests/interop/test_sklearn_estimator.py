"""The estimator against scikit-learn's own checks, its own factor analysis, and inside of its tools."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import clone, config_context
from sklearn.decomposition import FactorAnalysis
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

from twinplate import GeneralisedLinear, InputError
from twinplate.interop.sklearn import VariationalFactorAnalysis

QUICK = {
    "steps": 2,
    "learning_rate": 1e-4,
    "device": "cpu",
    "precision": "float64",
    "random_state": 0,
}


@pytest.fixture(scope="module")
def data():
    """300 items of 10 features, two components."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 10)) + rng.normal(size=10)
    return x + 0.5 * rng.normal(size=x.shape)


def test_it_passes_the_checks_of_scikit_learn():
    estimator = VariationalFactorAnalysis(n_components=1, backend="pyro", **QUICK)
    with warnings.catch_warnings():  # of the checks' data: constant features
        warnings.simplefilter("ignore")
        done = check_estimator(estimator, on_skip=None)
    assert {check["status"] for check in done} <= {"passed", "skipped"} and len(done) > 40
    skipped = [check["check_name"] for check in done if check["status"] == "skipped"]
    assert skipped in ([], ["check_array_api_input"])  # off unless SCIPY_ARRAY_API is set


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_it_is_the_factor_analysis_of_scikit_learn_on_complete_data(data, backend):
    """Both are at maximum likelihood; components are the same up to a rotation."""
    new = data[:20] + 0.1
    known = FactorAnalysis(2, tol=1e-6, max_iter=5000, svd_method="lapack").fit(data)
    model = VariationalFactorAnalysis(2, backend=backend, **QUICK).fit(data)
    np.testing.assert_allclose(model.score_samples(new), known.score_samples(new), atol=0.05)
    known_means = known.transform(new) @ known.components_ + known.mean_
    found = model.inverse_transform(model.transform(new))
    np.testing.assert_allclose(found, known_means, atol=0.05)
    np.testing.assert_allclose(model.noise_variance_, known.noise_variance_, rtol=0.05)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(new), model.transform(new))


def test_missing_entries_go_through_a_pipeline_and_a_grid_search(data):
    """The number of components of the truth has the highest evidence of items that were left out."""
    x = np.where(np.random.default_rng(1).random(data.shape) < 0.1, np.nan, data)
    model = VariationalFactorAnalysis(backend="pyro", **QUICK)
    pipeline = make_pipeline(StandardScaler(), model)
    search = GridSearchCV(pipeline, {"variationalfactoranalysis__n_components": [1, 2]}, cv=3)
    search.fit(x)
    best = search.best_estimator_[-1]
    assert best.n_components == 2 and best.transform(x).shape == (300, 2)
    scaled = search.best_estimator_[0].transform(x[:5])
    covariance = best.components_.T @ best.components_ + np.diag(best.noise_variance_)
    expected = []
    for item in scaled:
        seen = ~np.isnan(item)
        block = covariance[np.ix_(seen, seen)]
        expected.append(stats.multivariate_normal.logpdf(item[seen], best.mean_[seen], block))
    assert search.score(x[:5]) == pytest.approx(np.mean(expected))


def test_frames_keep_their_names(data):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        data, columns=list("abcdefghij"), index=[f"item {n}" for n in range(300)]
    )
    model = VariationalFactorAnalysis(2, backend="pyro", **QUICK).set_output(transform="pandas")
    found = model.fit_transform(frame)
    assert list(found.columns) == list(model.get_feature_names_out())
    assert list(found.index) == list(frame.index)
    assert model.fit_.features == tuple("abcdefghij")
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[list("bacdefghij")])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"n_components": 0}, "num_components is 0"),
        ({"backend": "stan"}, "'pyro' or 'numpyro'"),
        ({"covariance": "round"}, "covariance"),
    ],
)
def test_wrong_parameters_are_told_at_fit(data, wrong, told):
    with pytest.raises(InputError, match=told):
        VariationalFactorAnalysis(**{**QUICK, **wrong}).fit(data)


@pytest.fixture(scope="module")
def counts():
    """Counts (240, 5) of two components, and their offsets (240,)."""
    rng = np.random.default_rng(2)
    depth = rng.uniform(0.5, 3.0, 240)
    model = GeneralisedLinear("negative-binomial", rng.normal(size=(5, 2)), 1.0, concentration=4.0)
    return model.simulate(240, rng, depth)[0], depth


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "bernoulli"])
def test_counts_are_fitted_transformed_and_scored_as_by_fit(counts, likelihood):
    x, depth = counts
    x = np.minimum(x, 1) if likelihood == "bernoulli" else x
    offsets = None if likelihood == "bernoulli" else depth
    model = VariationalFactorAnalysis(2, likelihood=likelihood, backend="pyro", **QUICK)
    latents = model.fit_transform(x, offsets=offsets)
    np.testing.assert_array_equal(latents, model.fit_.posterior(x, offsets=offsets).loc)
    eta = latents @ model.components_ + model.intercept_
    known = 1 / (1 + np.exp(-eta)) if offsets is None else depth[:, None] * np.exp(eta)
    np.testing.assert_allclose(model.inverse_transform(latents, offsets=offsets), known)
    bound = model.fit_.evidence_bound(x[:9], offsets=None if offsets is None else depth[:9])
    found = model.score(x[:9], offsets=None if offsets is None else depth[:9])
    assert found == pytest.approx(bound.mean)
    assert hasattr(model, "concentration_") == (likelihood == "negative-binomial")
    assert not hasattr(model, "noise_variance_")
    tags = model.__sklearn_tags__()
    assert tags.input_tags.positive_only and tags.input_tags.allow_nan


def test_a_fit_by_another_likelihood_leaves_nothing(counts):
    x, depth = counts
    model = VariationalFactorAnalysis(2, likelihood="poisson", backend="pyro", **QUICK)
    latents = model.fit_transform(x, offsets=depth)
    means = model.inverse_transform(latents)
    model.set_params(likelihood="normal")
    np.testing.assert_array_equal(model.inverse_transform(latents), means)
    assert not hasattr(model.fit(x), "intercept_") and model.mean_.shape == (5,)


def test_offsets_are_routed_through_a_pipeline_and_a_search(counts):
    x, depth = counts
    model = VariationalFactorAnalysis(1, likelihood="poisson", backend="pyro", **QUICK)
    with config_context(enable_metadata_routing=True):
        for request in (
            model.set_fit_request,
            model.set_transform_request,
            model.set_score_request,
        ):
            request(offsets=True)
        search = GridSearchCV(model, {"n_components": [1, 2]}, cv=3).fit(x, offsets=depth)
        pipeline = make_pipeline(clone(model)).fit(x, offsets=depth)
        routed = pipeline.transform(x, offsets=depth)
    assert search.best_params_["n_components"] == 2
    assert pipeline[-1].fit_.program.config.offset == "given"
    np.testing.assert_array_equal(routed, pipeline[-1].transform(x, offsets=depth))
    assert search.best_estimator_.fit_.program.config.offset == "given"
    with pytest.raises(InputError, match="offsets"):
        pipeline.transform(x)


def test_a_series_of_offsets_goes_by_the_index_of_the_frame(counts):
    x, depth = pd.DataFrame(counts[0], columns=list("abcde")), pd.Series(counts[1])
    other = depth.sample(frac=1, random_state=1)
    model = VariationalFactorAnalysis(2, likelihood="poisson", backend="pyro", **QUICK)
    latents, loadings = model.fit_transform(x, offsets=depth), model.components_
    np.testing.assert_array_equal(model.transform(x, offsets=other), latents)
    few = x[:9], depth[:9]
    scores = model.score_samples(few[0], offsets=few[1][::-1])
    np.testing.assert_array_equal(scores, model.score_samples(few[0], offsets=few[1].to_numpy()))
    np.testing.assert_array_equal(model.fit(x, offsets=other).components_, loadings)


def test_of_counts_it_passes_the_checks_of_scikit_learn_for_whole_numbers(monkeypatch):
    """The checks' data less their fractions: there is a tag for numbers that are not negative, and none for
    whole ones.
    """

    def whole(*given, **options):
        return np.floor(validate_data(*given, **options))

    monkeypatch.setattr("twinplate.interop.sklearn.validate_data", whole)
    estimator = VariationalFactorAnalysis(
        1, likelihood="poisson", offset="none", backend="pyro", **QUICK
    )
    with warnings.catch_warnings():  # of the checks' data: features that are all zero
        warnings.simplefilter("ignore")
        done = check_estimator(estimator, on_skip=None, on_fail=None)
    failed = {c["check_name"]: str(c["exception"]) for c in done if c["status"] == "failed"}
    # draws of the bound on an item's evidence are of its place, and other ones elsewhere
    moved = {"check_methods_sample_order_invariance", "check_methods_subset_invariance"}
    assert failed.keys() == moved and len(done) > 40
    assert all("score_samples" in said for said in failed.values())


def test_what_a_masked_array_masks_is_missing(data):
    masked = np.ma.masked_greater(data, 1.0)
    found = VariationalFactorAnalysis(steps=2, random_state=0, device="cpu").fit(masked)
    missing = VariationalFactorAnalysis(steps=2, random_state=0, device="cpu")
    missing.fit(np.where(data > 1, np.nan, data))
    np.testing.assert_array_equal(found.mean_, missing.mean_)
    np.testing.assert_array_equal(found.score_samples(masked), missing.score_samples(masked))


def test_latents_of_another_number_are_refused(data):
    model = VariationalFactorAnalysis(steps=2, random_state=0, device="cpu").fit(data)
    for latents in (np.zeros((3, 5)), np.zeros(2)):
        with pytest.raises(InputError, match=r"expected latents \(N, 2\)"):
            model.inverse_transform(latents)
