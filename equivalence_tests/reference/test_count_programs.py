"""Counts, zeros and ones: the twins agree site by site, and with the densities of SciPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy

from equivalence_tests.reference.agreement import differences, relative_error
from equivalence_tests.reference.cases import CONDITIONS, PAIRS, TWINS
from equivalence_tests.reference.count_cases import OTHERS, CountCase
from twinplate.programs.parameters import generative_of

ALL = [
    CountCase(guide, covariance, condition, learned=learned, likelihood=likelihood)
    for (guide, covariance), condition, learned, likelihood in product(
        PAIRS, CONDITIONS, (False, True), OTHERS
    )
]
# Each guide with each likelihood, missing entries and learned parameters; all others are slow.
FULL = ("diagonal", "diagonal"), ("event", "low-rank"), ("auxiliary", "full")


def _case(case: CountCase) -> object:
    quick = case.condition == "missing" and case.learned and (case.guide, case.covariance) in FULL
    return pytest.param(case, id=str(case), marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("case", [_case(case) for case in ALL])
def test_twins_agree(case: CountCase) -> None:
    assert differences(case.run("pyro"), case.run("numpyro")) == []


@pytest.mark.parametrize("likelihood", OTHERS)
@pytest.mark.parametrize("twin", TWINS)
def test_densities_are_those_of_scipy(twin: str, likelihood: str) -> None:
    case = CountCase(condition="missing", learned=True, likelihood=likelihood)
    found = case.run(twin).model["x"]
    model = generative_of(case.program, case.params)
    x, a = case.x[:5], case.run(twin).returned[0].T
    eta = a @ model.loadings.T + model.intercept
    if case.offsets is not None:
        eta = eta + np.log(case.offsets[:5, None])
    mean = np.exp(eta)
    if likelihood == "poisson":
        entries = scipy.stats.poisson(mean).logpmf(x)
    elif likelihood == "bernoulli":
        entries = scipy.stats.bernoulli(mean / (1 + mean)).logpmf(x)
    else:
        c = model.concentration
        entries = scipy.stats.nbinom(c, c / (c + mean)).logpmf(x)
    expected = np.where(np.isnan(x), 0.0, entries).sum(axis=1)
    assert relative_error(expected, found.log_prob[0]) <= 1e-12
