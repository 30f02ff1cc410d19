"""Parameters are moved by every seed, stay within their constraint, and move alike for equal seeds."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate.verification.matching.unconstrained import MOVES, jitter
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
