"""The estimator against scikit-learn's own checks, its own factor analysis, and inside of its tools."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import FactorAnalysis
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from twinplate import InputError
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
