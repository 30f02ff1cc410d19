"""Which unconstrained numbers of two programs are the same, found by moving them."""

from __future__ import annotations

import numpy as np
import scipy.special

from twinplate import Trained
from twinplate.conversion.moments import Places, carried

rng = np.random.default_rng(2)
SIZE = 4
LOC, SCALE, SQUARE = rng.normal(size=6), rng.normal(size=6), rng.normal(size=(SIZE, SIZE))
ORDER = rng.permutation(6)
LOWER = np.tril_indices(SIZE, -1)
START = {"loc": LOC, "scale": SCALE, "square": SQUARE}


def onward(numbers):
    """Reordered; by softplus where it was exp; the lower triangle of a square, row by row."""
    return {
        "place": numbers["loc"][ORDER],
        "spread": np.log(np.expm1(np.exp(numbers["scale"]))),
        "below": numbers["square"][LOWER],
    }


def backward(numbers):
    square = np.zeros((SIZE, SIZE))
    square[LOWER] = numbers["below"]
    loc = np.empty(6)
    loc[ORDER] = numbers["place"]
    return {
        "loc": loc,
        "scale": np.log(scipy.special.softplus(numbers["spread"])),
        "square": square,
    }


def test_numbers_are_found_where_they_are():
    places = Places(START, onward)
    assert places.of(("loc",), ("place",)).tolist() == ORDER.tolist()
    assert places.of(("scale",), ("spread",)) is None
    flat = np.arange(SIZE**2).reshape(SIZE, SIZE)
    assert places.of(("square",), ("below",)).tolist() == flat[LOWER].tolist()
    assert places.of(("loc",), ("below",)) is None


def test_moments_go_there_and_back():
    pairs = [((a,), (b,)) for a, b in zip(START, onward(START), strict=True)]
    mean = {"loc": LOC + 1, "scale": SCALE, "square": np.tril(SQUARE, -1)}
    taken = Trained({}, mean, {n: x**2 for n, x in mean.items()}, dict.fromkeys(mean, 9))
    there, reset = carried(taken, pairs, Places(START, onward))
    assert reset == ("spread",) and there.steps == {"place": 9, "below": 9}
    np.testing.assert_array_equal(there.mean["place"], (LOC + 1)[ORDER])
    np.testing.assert_array_equal(there.variance["below"], SQUARE[LOWER] ** 2)

    turned = [(b, a) for a, b in pairs]
    back, reset = carried(there, turned, Places(onward(START), backward))
    assert reset == ("scale",)
    for name in ("loc", "square"):  # of the upper half there are none, and it has none
        np.testing.assert_array_equal(back.mean[name], mean[name])


def test_parameters_of_other_numbers_of_steps_that_become_one_start_anew():
    both = {"a": LOC, "b": SCALE}
    taken = Trained({}, both, both, {"a": 3, "b": 4})
    places = Places(both, lambda numbers: {"stack": np.stack([numbers["a"], numbers["b"]])})
    assert carried(taken, [(("a", "b"), ("stack",))], places)[1] == ("stack",)


def test_large_numbers_and_many():
    many = {"weight": 1e5 * rng.normal(size=(300, 400))}
    places = Places(many, lambda numbers: {"kernel": numbers["weight"].T})
    expected = np.arange(300 * 400).reshape(300, 400).T.ravel()
    np.testing.assert_array_equal(places.of(("weight",), ("kernel",)), expected)
