"""What timings are made of: blocks that take turns, intervals of medians and of ratios.

Nothing here asserts a time: what is fast enough is `twinplate bench`'s own to say.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from twinplate.bench.timing import Interval, interleave, median_interval, ratio


def test_blocks_take_turns_in_random_order():
    calls = []
    blocks = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    seconds = interleave(blocks, 20, np.random.default_rng(0))
    rounds = ["".join(calls[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(turn) == list("abc") for turn in rounds)
    assert len(set(rounds)) > 3
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 20)


@pytest.mark.parametrize(("n", "k"), [(25, 8), (20, 6), (9, 2), (6, 1), (5, 1), (1, 1)])
def test_the_interval_of_a_median_is_that_of_the_tables(n, k):
    """k of Conover's table of the sign test's intervals: the k-th smallest and largest at 95 %."""
    values = np.random.default_rng(0).permutation(n) + 1.0
    found = median_interval(values)
    assert found == Interval((n + 1) / 2, k, n + 1 - k)
    if n >= 6:
        assert stats.binom.cdf(n - k, n, 0.5) - stats.binom.cdf(k - 1, n, 0.5) >= 0.95
        assert stats.binom.cdf(n - k - 1, n, 0.5) - stats.binom.cdf(k, n, 0.5) < 0.95


def test_a_busy_neighbour_cancels_in_the_ratio():
    load = np.random.default_rng(0).uniform(1, 5, 25)
    assert ratio(3.0 * load, 2.0 * load) == Interval(1.5, 1.5, 1.5)
