"""Densities, distribution functions and supports of the likelihoods, against SciPy."""

import numpy as np
import pandas
import pytest
import scipy

from twinplate import InputError, ProgramConfig, make_program
from twinplate.programs.likelihood import check_values, cumulative, log_density, working

COUNTS = np.array([0.0, 1.0, 4.0, 255.0, 70_000.0])[:, None]
PREDICTOR = np.array([-3.0, 0.5, 6.0])
CONCENTRATION = np.array([0.4, 2.0, 900.0])


def scipys(likelihood):
    mean = np.exp(PREDICTOR)
    if likelihood == "poisson":
        return scipy.stats.poisson(mean)
    if likelihood == "bernoulli":
        return scipy.stats.bernoulli(mean / (1 + mean))
    return scipy.stats.nbinom(CONCENTRATION, CONCENTRATION / (CONCENTRATION + mean))


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "bernoulli"])
def test_density_and_distribution_function_are_scipys(likelihood):
    x = COUNTS[:2] if likelihood == "bernoulli" else COUNTS
    concentration = CONCENTRATION if likelihood == "negative-binomial" else None
    known = scipys(likelihood)
    found = log_density(likelihood, x, PREDICTOR, concentration)
    np.testing.assert_allclose(found, known.logpmf(x), rtol=1e-10, atol=1e-10)
    found = cumulative(likelihood, x, PREDICTOR, concentration)
    np.testing.assert_allclose(found, known.cdf(x), rtol=1e-10, atol=1e-12)


def test_counts_of_a_small_type_are_counts():
    assert working("poisson", np.float64(np.uint8(255)) * np.ones((1, 1)))[0, 0] == np.log(256)


@pytest.mark.parametrize(
    ("likelihood", "wrong", "expected"),
    [
        ("poisson", -1.0, "whole numbers, 0 or more"),
        ("negative-binomial", 2.5, "whole numbers, 0 or more"),
        ("bernoulli", 2.0, "zeros and ones"),
    ],
)
def test_what_cannot_be_is_named_with_its_place(likelihood, wrong, expected):
    x = np.array([[0.0, 1.0, np.nan], [1.0, 0.0, wrong]])
    with pytest.raises(
        InputError, match=rf"x holds {wrong:g} in row 12, column 3, .*; expected {expected}"
    ):
        check_values(likelihood, x, first=10)
    check_values(likelihood, x[:1])
    check_values("normal", x)


def test_an_entry_that_cannot_be_is_called_by_the_name_of_its_column():
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.5]})
    config = ProgramConfig(2, 1, likelihood="poisson")
    with pytest.raises(InputError, match=r"x holds 1.5 in row 2, column 2 \('b'\), which is no"):
        make_program(frame, config)
