"""Both twins against the closed forms of the linear-Gaussian model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from equivalence_tests.reference.agreement import relative_error
from equivalence_tests.reference.cases import TWINS, ReferenceCase
from twinplate.programs.closed_form import closed_form_params
from twinplate.programs.program import ReferenceProgram, make_program

ROUTES = [
    ("event", "full"),
    ("auxiliary", "full"),
    ("event", "low-rank"),
    ("auxiliary", "low-rank"),
]


def _program(case: ReferenceCase) -> ReferenceProgram:
    """Rank K, with which a low-rank covariance can be any."""
    config = replace(case.program.config, rank=case.size[1])
    return make_program(case.x, config, case.program.start)


def _routes(condition: str) -> list[tuple[str, str, str]]:
    return [(g, c, condition) for g, c in ROUTES if c == "full" or condition != "missing"]


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.parametrize(
    ("guide", "covariance", "condition"), _routes("full-data") + _routes("missing")
)
@pytest.mark.parametrize("twin", TWINS)
def test_every_particle_has_the_log_evidence(
    twin: str, guide: str, covariance: str, condition: str, vectorised: bool
) -> None:
    case = ReferenceCase(guide, covariance, condition, size=(5, 3, 4, 7), vectorised=vectorised)
    program = _program(case)
    x = case.x[:5]
    noise = ReferenceCase(guide, covariance, condition, size=(5, 3, 4, 7), vectorised=True).noise
    if covariance == "low-rank":
        noise = {n: np.concatenate([v, v[..., :1] ** 2], -1) for n, v in noise.items()}
    params = closed_form_params(program)
    run = TWINS[twin].evaluate(x, program, params, noise, case.training())
    evidence = program.start.log_evidence(x).sum()
    assert run.elbo.shape == (7,)
    assert np.max(np.abs(run.elbo - evidence)) <= 1e-10 * max(1.0, abs(evidence))


@pytest.mark.parametrize("twin", TWINS)
def test_diagonal_guide_is_exact_where_the_posterior_is_diagonal(twin: str) -> None:
    case = ReferenceCase("diagonal", "diagonal", "full-data")
    generative = case.program.start
    orthogonal = np.linalg.qr(generative.loadings / generative.noise_scale[:, None])[0]
    loadings = orthogonal * generative.noise_scale[:, None]
    program = make_program(case.x, case.program.config, replace_loadings(case.program, loadings))
    run = case_run(twin, case, program)
    assert abs(run[0] - program.start.log_evidence(case.x).sum()) <= 1e-10
    assert program.start.family_gap(case.x, "diagonal").max() <= 1e-12
    # and is not where it is correlated
    assert case.program.start.family_gap(case.x, "diagonal").min() > 0.01


def replace_loadings(program: ReferenceProgram, loadings: np.ndarray):  # type: ignore[no-untyped-def]
    return type(program.start)(**{**program.start.as_dict(), "loadings": loadings})


def case_run(twin: str, case: ReferenceCase, program: ReferenceProgram) -> np.ndarray:
    params = closed_form_params(program)
    return TWINS[twin].evaluate(case.x, program, params, case.noise, case.training()).elbo


@pytest.mark.parametrize("condition", ["full-data", "missing"])
@pytest.mark.parametrize(
    ("guide", "covariance"), [("diagonal", "diagonal"), ("event", "full"), ("auxiliary", "full")]
)
@pytest.mark.parametrize("twin", TWINS)
def test_posterior_moments_against_the_closed_form(
    twin: str, guide: str, covariance: str, condition: str
) -> None:
    case = ReferenceCase(guide, covariance, condition)
    generative = case.program.start
    found = TWINS[twin].posterior(case.x, case.program, closed_form_params(case.program))
    exact = generative.posterior(case.x)
    if covariance == "diagonal":
        exact = generative.best_diagonal(case.x)
        family = generative.family_gap(case.x, "diagonal")
        assert relative_error(generative.kl_to_posterior(case.x, found), family) <= 1e-10
    assert relative_error(found.loc, exact.loc) <= 1e-10
    assert relative_error(found.scale_tril, exact.scale_tril) <= 1e-10


@pytest.mark.parametrize(("guide", "covariance"), [("diagonal", "diagonal"), *ROUTES])
def test_posteriors_of_both_twins_are_one(guide: str, covariance: str) -> None:
    for condition in ("full-data", "missing"):
        case = ReferenceCase(guide, covariance, condition, amplitude=True, learned=True)
        first, second = (t.posterior(case.x, case.program, case.params) for t in TWINS.values())
        assert relative_error(first.loc, second.loc) <= 1e-12
        assert relative_error(first.scale_tril, second.scale_tril) <= 1e-12


@pytest.mark.parametrize(
    "covariance",
    ["full", *(pytest.param(c, marks=pytest.mark.slow) for c in ("diagonal", "low-rank"))],
)
@pytest.mark.parametrize("twin", TWINS)
def test_no_elbo_exceeds_the_log_evidence(twin: str, covariance: str) -> None:
    """The mean of 2,000 particles, by its own standard error; failure probability 3e-5 per case.

    And it is the exact expected ELBO, to 4 standard errors (6e-5).
    """
    case = ReferenceCase(
        "auxiliary", covariance, "full-data", size=(5, 3, 4, 2000), vectorised=True
    )
    elbo = case.run(twin).elbo
    generative = case.program.start
    error = elbo.std() / np.sqrt(len(elbo))
    guide = TWINS[twin].posterior(case.x, case.program, case.params)
    assert elbo.mean() <= generative.log_evidence(case.x).sum() + 4 * error
    assert abs(elbo.mean() - generative.expected_elbo(case.x, guide).sum()) <= 4 * error
