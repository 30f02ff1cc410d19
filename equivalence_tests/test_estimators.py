"""Every estimator of the ELBO in both twins: the same loss, gradient, training; jit, eager and vmap."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import jax
import numpy as np
import pytest

from equivalence_tests.cases import PAIRS, TWINS, Case
from equivalence_tests.compare import relative_error
from equivalence_tests.test_training import check, data, matched
from twinplate.config import ESTIMATORS, TrainingConfig
from twinplate.evaluation import Evaluation

VARIANTS = {"jit": nullcontext, "eager": jax.disable_jit}


def evaluated(case: Case, twin: str, estimator: str) -> Evaluation:
    training = replace(case.training(), estimator=estimator)
    items = case.x[: case.size[0]]
    return TWINS[twin].evaluate(
        items, case.program, case.params, case.noise, training, num_items=len(case.x)
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("guide", "covariance"), PAIRS)
def test_loss_and_gradient_agree(guide: str, covariance: str, estimator: str, variant: str) -> None:
    condition = "missing" if variant == "eager" else "particles-vectorised"
    case = Case(guide, covariance, condition, amplitude=True, learned=True)
    first = evaluated(case, "pyro", estimator)
    with VARIANTS[variant]():
        second = evaluated(case, "numpyro", estimator)
    assert relative_error(np.array(first.loss), np.array(second.loss)) <= 1e-12
    assert first.gradient.keys() == second.gradient.keys() == case.params.keys()
    for name, gradient in first.gradient.items():
        assert np.abs(gradient).max() > 0
        assert relative_error(gradient, second.gradient[name]) <= 1e-12, name


@pytest.mark.parametrize("estimator", ESTIMATORS[1:])
@pytest.mark.parametrize(
    ("guide", "covariance"),
    [("diagonal", "diagonal"), ("auxiliary", "low-rank"), ("event", "full")],
)
def test_matched_training(guide: str, covariance: str, estimator: str) -> None:
    check(matched(Case(guide, covariance, "missing", amplitude=True), estimator=estimator))


def test_matched_restarts() -> None:
    """All of them in one vmap in one twin, one after the other in the other."""
    case = Case("auxiliary", "full", "missing")
    training = TrainingConfig(steps=50, batch_size=16, precision="float64", device="cpu")
    first, second = (
        twin.fit_many(
            data(case),
            case.program,
            training,
            seeds=(0, 1),
            learning_rates=(0.01, 0.03),
            matched=True,
        )
        for twin in TWINS.values()
    )
    assert relative_error(first.losses, second.losses) <= 1e-12
    assert first.best == second.best and not (first.diverged | second.diverged).any()
    for a, b in zip(first.fits, second.fits, strict=True):
        for name, values in a.params.items():
            assert relative_error(values, b.params[name]) <= 1e-12
