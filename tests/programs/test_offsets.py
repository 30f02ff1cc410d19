"""Offsets of items: totals over what is expected, given ones, and those that are refused."""

import numpy as np
import pytest

from twinplate import InputError, ProgramConfig, make_program
from twinplate.programs.offsets import given_offsets, offsets_of, total_offsets

TOTAL = ProgramConfig(2, 1, likelihood="poisson")
GIVEN = ProgramConfig(2, 1, likelihood="poisson", offset="given")
MEANS = np.array([2.0, 6.0])


def test_a_total_is_over_what_is_expected_of_the_observed_entries():
    x = np.array([[1.0, 3.0], [np.nan, 9.0], [4.0, np.nan], [np.nan, np.nan]])
    assert total_offsets(x, MEANS).tolist() == [0.5, 1.5, 2.0, 1.0]


def test_with_complete_data_it_is_the_sum_over_the_mean_sum():
    x = np.random.default_rng(0).poisson(5.0, (30, 4)).astype(float) + 1
    program = make_program(x, ProgramConfig(4, 1, likelihood="poisson"))
    sums = x.sum(axis=1)
    np.testing.assert_allclose(program.offsets_of(x), sums / sums.mean(), rtol=1e-14)


def test_an_item_without_counts_has_no_total():
    with pytest.raises(InputError, match=r"1 item of x count nothing at all \(row 2\)"):
        total_offsets(np.array([[1.0, 0.0], [0.0, 0.0]]), MEANS)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([1.0], r"shape \(1,\); expected \(3,\)"),
        ([1.0, 0.0, 2.0], "the first 0 in row 2"),
        ([1.0, -1.0, np.nan], "2 offsets of 3 are not positive"),
        (["a", "b", "c"], "hold no numbers"),
    ],
)
def test_given_offsets_that_are_none(offsets, message):
    with pytest.raises(InputError, match=message):
        offsets_of(GIVEN, None, np.ones((3, 2)), offsets)


def test_offsets_that_are_missing_or_unwanted():
    with pytest.raises(InputError, match="made with given offsets and there are none for x"):
        offsets_of(GIVEN, None, np.ones((3, 2)))
    config = ProgramConfig(2, 1, likelihood="bernoulli")
    with pytest.raises(InputError, match="offsets are for counts"):
        offsets_of(config, None, np.ones((3, 2)), np.ones(3))
    assert offsets_of(config, None, np.ones((3, 2))) is None
    assert offsets_of(TOTAL, MEANS, np.ones((3, 2)), [1, 2, 3]).dtype == np.float64


def test_a_likelihood_without_counts_has_no_offsets():
    with pytest.raises(InputError, match="offset is 'total'; expected 'none'"):
        ProgramConfig(2, 1, likelihood="bernoulli", offset="total")
    with pytest.raises(InputError, match="what scales an item is its offset"):
        ProgramConfig(2, 1, likelihood="poisson", amplitude_scale=0.3)


def test_what_is_masked_is_no_offset():
    masked = np.ma.masked_greater([1.0, 2.0, 9.0], 5.0)
    with pytest.raises(InputError, match=r"1 offset of 3 .* the first nan in row 3"):
        given_offsets(masked, 3)
