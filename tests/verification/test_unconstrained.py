"""Parameters are moved by every seed, stay within their constraint, and move alike for equal seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit

from twinplate.verification.matching.edges import kept_inside
from twinplate.verification.matching.unconstrained import MOVES, jitter, stressed
from twinplate.verification.recording import perturbed

TRIL = np.array([[0.7, 0.0], [0.3, 1.2]])
CORR = np.array([[1.0, 0.0], [0.6, 0.8]])


def _is_lower(x):
    return (np.triu(x, 1) == 0).all() and (np.diagonal(x) > 0).all()


def _is_correlation(x):
    return np.allclose(np.diagonal(x), 1.0) and np.linalg.eigvalsh(x).min() > 0


# constraint -> (first value, whether a value is within it)
CASES = {
    "real": (np.zeros(3), np.isfinite),
    "positive": (np.ones(3), lambda x: x > 0),
    "nonnegative": (np.ones(3), lambda x: x > 0),
    "softplus_positive": (np.ones(3), lambda x: x > 0),
    "unit_interval": (np.full(3, 0.5), lambda x: (x > 0) & (x < 1)),
    "interval(-1, 2)": (np.zeros(3), lambda x: (x > -1) & (x < 2)),
    "interval(0 1, 1 2)": (np.array([0.5, 1.5]), lambda x: (x > [0, 1]) & (x < [1, 2])),
    "greater_than(1)": (np.full(3, 1.5), lambda x: x > 1),
    "less_than(1)": (np.zeros(3), lambda x: x < 1),
    "simplex": (np.full((2, 4), 0.25), lambda x: np.allclose(x.sum(-1), 1) & (x > 0)),
    "ordered": (np.array([-1.0, 0.0, 2.0]), lambda x: np.diff(x) > 0),
    "positive_ordered": (np.array([0.5, 1.0, 2.0]), lambda x: np.diff(x, prepend=0.0) > 0),
    "lower_cholesky": (TRIL, _is_lower),
    "softplus_lower_cholesky": (TRIL, _is_lower),
    "unit_lower_cholesky": (
        np.array([[1.0, 0.0], [0.3, 1.0]]),
        lambda x: _is_lower(x) and (np.diagonal(x) == 1).all(),
    ),
    "corr_cholesky": (np.eye(2), lambda x: _is_lower(x) and _is_correlation(x @ x.T)),
    "corr_matrix": (CORR @ CORR.T, _is_correlation),
    "positive_definite": (TRIL @ TRIL.T, lambda x: np.linalg.eigvalsh(x).min() > 0),
}


@pytest.mark.parametrize("constraint", CASES)
def test_a_parameter_moves_within_its_constraint(constraint):
    value, is_within = CASES[constraint]
    moved = [jitter(value, constraint, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert moved[0].shape == value.shape
    assert np.all(is_within(moved[0]))
    assert 1e-3 < np.abs(moved[0] - value).max() < 1.0
    assert (moved[0] == moved[1]).all() and (moved[0] != moved[2]).any()


def test_every_move_is_tested():
    assert {constraint.partition("(")[0] for constraint in CASES} == set(MOVES)


def test_a_value_of_another_constraint_stays():
    assert (jitter(np.ones(3), "sphere", np.random.default_rng(0)) == 1).all()


def test_a_perturbed_correlation_is_one():
    """Else the frameworks' own checks would tell it from the unperturbed one."""
    changed = perturbed(np.stack([CORR, CORR]), np.random.default_rng(0))
    assert 0 < np.abs(changed - CORR).max() < 1e-11
    assert np.allclose(np.linalg.norm(changed, axis=-1), 1.0, rtol=0.0, atol=1e-15)


NEAR_ONE = np.array([[1.0, 0.0], [np.sqrt(1 - 1e-20), 1e-10]])
# support -> (at its edge or beyond what computes exactly, well inside)
EDGES = {
    "real": (np.array([1e300, -1e40]), np.array([2.5, -1e6])),
    "positive": (np.array([0.0, 1e-200, 1e60]), np.array([1e-20, 3.0])),
    "nonnegative": (np.array([0.0, 1e-200]), np.array([1e-20, 3.0])),
    "unit_interval": (np.array([0.0, 1e-20, 1 - 1e-16, 1.0]), np.array([1e-8, 0.3])),
    "simplex": (np.array([[0.0, 0.0, 1.0], [1e-30, 0.4, 0.6]]), np.array([[0.1, 0.2, 0.7]])),
    "corr_cholesky": (NEAR_ONE, CORR),
}


@pytest.mark.parametrize("support", EDGES)
@pytest.mark.parametrize("move", [kept_inside, stressed])
def test_draws_keep_a_distance_from_the_edge(support, move):
    """There sigmoid's argument is below 20, where torch's softplus becomes linear, and 1 - x has digits."""
    edge, inside = EDGES[support]
    moved = move(edge, support)
    if support in ("unit_interval", "simplex"):
        assert (np.abs(logit(moved)) < 20).all() and moved.max() <= 1 - 2**-28
    if support == "corr_cholesky":
        assert 1 - moved[1, 0] ** 2 > 2e-9
    if support == "simplex":
        np.testing.assert_allclose(moved.sum(-1), 1.0, rtol=1e-15)
    assert np.isfinite(moved**10).all() and (
        support == "real" or (np.abs(moved[moved > 0]) > 1e-31).all()
    )
    np.testing.assert_array_equal(kept_inside(inside, support), inside)


@pytest.mark.parametrize("arguments", [{"low": -1, "high": 2}, {"loc": -1, "scale": 3}])
def test_an_interval_ends_where_its_distribution_says(arguments):
    values, near = np.array([-1.0, 0.3, 2.0]), 3 * 2**-28
    kept = kept_inside(values, "interval", {n: np.array([v]) for n, v in arguments.items()})
    np.testing.assert_array_equal(kept, [-1 + near, 0.3, 2 - near])
    np.testing.assert_array_equal(kept_inside(values, "interval"), values)


def test_a_draw_of_whole_numbers_has_no_edge():
    np.testing.assert_array_equal(kept_inside(np.array([0, 1]), "unit_interval"), [0, 1])
