"""Held-out evidence, against scikit-learn's factor analysis and SciPy, and the rule by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import FactorAnalysis

from twinplate import InputError, LinearGaussian
from twinplate.choosing.held_out import (
    FOLDS,
    MOST_ITEMS,
    check_components,
    held_out_evidence,
    independent_evidence,
    some_items,
    usual_components,
)
from twinplate.choosing.rule import choose, ruling


def simulated(components: int, num_items: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    model = LinearGaussian(rng.normal(size=(6, components)), rng.normal(size=6), 0.6)
    return model.simulate(num_items, rng)[0]


def test_evidence_of_items_is_by_models_of_the_others() -> None:
    """scikit-learn's maximum likelihood for the other items gives nearly the same density."""
    x = simulated(2)
    found = held_out_evidence(x, (1, 2))
    for fold in range(FOLDS):
        out = np.arange(len(x)) % FOLDS == fold
        for column, k in enumerate((1, 2)):
            model = FactorAnalysis(k, tol=1e-4, max_iter=5000).fit(x[~out])
            normal = stats.multivariate_normal(model.mean_, model.get_covariance())
            expected = normal.logpdf(x[out])
            np.testing.assert_allclose(found[out, column], expected, atol=0.1)
            assert found[out, column].mean() == pytest.approx(expected.mean(), abs=0.005)


def test_an_item_that_moves_moves_the_evidence_of_the_others_alone_through_their_models() -> None:
    x = simulated(1)
    moved = x.copy()
    moved[0] += 50
    before, after = held_out_evidence(x, (1,)), held_out_evidence(moved, (1,))
    same = np.arange(len(x)) % FOLDS == 0
    same[0] = False
    np.testing.assert_allclose(before[same], after[same], atol=1e-9)  # their model never saw it
    assert (before[~same] != after[~same]).all()


def test_missing_entries_are_left_out() -> None:
    x = simulated(2, 400)
    holes = np.where(np.random.default_rng(1).random(x.shape) < 0.2, np.nan, x)
    whole, part = held_out_evidence(x, (1, 2)), held_out_evidence(holes, (1, 2))
    assert np.isfinite(part).all() and part.mean() > whole.mean()  # fewer entries are denser here
    assert part[:, 1].mean() > part[:, 0].mean()
    empty = x.copy()
    empty[np.arange(len(x)) % FOLDS > 0, 2] = np.nan
    with pytest.raises(
        InputError, match="column 3 has entries in one part in 5 of the items alone"
    ):
        held_out_evidence(empty, (1,))


def test_a_column_that_hardly_varies_outside_a_part_is_named() -> None:
    x = simulated(2)
    rare = x.copy()
    rare[:, 4] = 0.0
    rare[[0, 5], 4] = 1.0  # both of the first part
    nearly = rare + 1e-4 * x
    for wrong in (rare, nearly):
        with pytest.raises(InputError, match="size varies in one part in 5 of the items alone"):
            held_out_evidence(wrong, (1,), names=("a", "b", "c", "d", "size", "f"))
    rare[[1, 7], 4] = 1.0
    assert held_out_evidence(rare, (1,)).mean() > -20


def test_one_item_that_makes_most_of_a_variance_is_found() -> None:
    differences = np.random.default_rng(0).normal(size=200)
    assert ruling(differences) is None and ruling(np.zeros(9)) is None
    differences[17] = 40.0
    assert ruling(differences) == 17


def test_without_components_features_are_independent_normals() -> None:
    x = simulated(2, 100)
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    found = independent_evidence(x)
    for fold in range(FOLDS):
        out = np.arange(len(x)) % FOLDS == fold
        normal = stats.norm(np.nanmean(x[~out], 0), np.nanstd(x[~out], 0))
        np.testing.assert_allclose(found[out], np.nansum(normal.logpdf(x[out]), 1), rtol=1e-9)


def test_by_default_as_many_components_as_the_features_can_tell_apart() -> None:
    for d in range(1, 25):
        most = [k for k in range(1, d) if (d - k) ** 2 >= d + k]  # Ledermann's bound
        assert usual_components(d) == tuple(range(1, min(max(most, default=1), 10) + 1))


@pytest.mark.parametrize(
    ("items", "components", "message"),
    [
        (9, (1,), "there are 9 items; expected 10 or more"),
        (10, (1, 7), "--components has 7; expected 1 to 6"),
        (10, (0,), "--components has 0; expected 1 to 6"),
    ],
)
def test_what_cannot_be_held_out_is_refused(items: int, components: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_components(components, np.zeros((items, 6)))


def test_items_are_few_in_memory_and_in_random_order() -> None:
    x = np.arange(1.5 * MOST_ITEMS)[:, None]
    some = some_items(x, 0)[:, 0]
    assert len(some) == MOST_ITEMS == len(np.unique(some)) and (np.diff(some) < 0).mean() > 0.4


def test_the_rule_takes_the_first_within_one_error_of_a_difference() -> None:
    rng = np.random.default_rng(0)
    common, noise = 30 * rng.normal(size=(400, 1)), rng.normal(size=(400, 3))
    noise -= noise.mean(axis=0)
    for gap, chosen in ((0.06, 1), (0.08, 2)):
        scores = common + noise + np.array([0.0, 1.0 - gap, 1.0])
        found = choose(scores)
        error = np.std(scores[:, 1] - scores[:, 2], ddof=1) / 20  # near √2 / 20 = 0.07
        assert 0.06 < error < 0.08
        assert (found.best, found.chosen) == (2, chosen)
        np.testing.assert_allclose(found.behind, scores.mean(0)[chosen] - scores.mean(0))
        other = 3 - chosen
        assert found.error[other] == pytest.approx(error) and found.error[chosen] < 1e-6


def test_certainty_is_the_share_of_resamples_with_the_same_choice() -> None:
    """Of two candidates the first is chosen unless it is behind by more than one error: by the normal."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(900, 2))
    noise -= noise.mean(axis=0)
    error = np.std(noise[:, 0] - noise[:, 1], ddof=1) / 30
    for shift in (-1.0, 0.5, 2.0):  # of the second, in errors
        found = choose(noise + np.array([0.0, shift * error]))
        first = stats.norm.cdf(1 - shift)
        assert found.chosen == (0 if shift <= 1 else 1)
        expected = first if found.chosen == 0 else 1 - first
        assert found.certainty == pytest.approx(expected, abs=0.04)


def test_one_candidate_is_chosen_for_certain() -> None:
    found = choose(np.random.default_rng(0).normal(size=(50, 1)))
    assert (found.chosen, found.certainty) == (0, 1.0)
