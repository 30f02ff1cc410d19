"""The zoo: as varied as it is said to be, the same every time, split without a look at the data."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import zoo_problems
from zoo_problems import KINDS, development, held_out, quick, zoo


def test_the_zoo_covers_the_ranges_that_it_names():
    problems = zoo()
    assert len({p.name for p in problems}) == len(problems) >= 200
    assert sum(p.learned for p in problems) >= 200 and sum(p.long for p in problems) == 60
    for size, low, high in (("num_items", 210, 100_000), ("num_features", 3, 300)):
        values = [getattr(p, size) for p in problems]
        assert min(values) <= low and max(values) == high
    noise = [p.noise for p in problems]
    assert 0.01 <= min(noise) < 0.012 and 1.9 < max(noise) <= 2
    beyond = {np.sign(p.num_components - p.true_components) for p in problems}
    assert beyond == {-1, 0, 1}
    assert all(1 <= p.num_components <= min(p.num_items, p.num_features) for p in problems)


def test_the_halves_are_disjoint_and_alike():
    def counts(half):
        return Counter((p.kind, p.learned) for p in half)

    assert not set(development()) & set(held_out())
    assert set(development()) | set(held_out()) == set(zoo())
    assert counts(development()) == counts(held_out())
    assert sum(p.long for p in development()) == sum(p.long for p in held_out())
    assert all(p.half == "development" for p in quick())
    assert {p.kind for p in quick()} == set(KINDS) and len(quick()) == 20
    assert {p.learned for p in quick()} == {True, False}


@pytest.mark.parametrize("kind", KINDS)
def test_a_problem_is_the_same_every_time(kind):
    first, again = (zoo_problems._problem(kind, 5) for _ in range(2))
    assert first == again
    x = first.data()
    np.testing.assert_array_equal(x, again.data())
    assert x.shape == (first.num_items, first.num_features)
    assert np.isnan(x).any() == ("missing" in first.troubles)
    assert not np.isinf(x).any() and (np.nanstd(x, axis=0) > 0).all()
    assert (x.shape != (other := zoo_problems._problem(kind, 7)).data().shape) or (x != other).any()


@pytest.mark.parametrize("name", ["over-16-fixed", "under-16-fixed", "plain-16-fixed"])
def test_what_is_given_explains_the_data(name):
    """Of healthy data: by the given model each item's squared distance is D on average (chi-square)."""
    (problem,) = (p for p in zoo() if p.name == name)
    x, given = problem.data(), problem.given()
    assert given.num_components == problem.num_components
    covariance = given.loadings @ given.loadings.T + np.diag(given.noise_scale**2)
    apart = x - given.intercept
    distance = np.sum(apart * np.linalg.solve(covariance, apart.T).T, axis=1).mean()
    assert abs(distance / problem.num_features - 1) < 0.1
    assert problem.program(x).learned == ()
