"""Every estimator of the ELBO in both twins: the same loss, gradient, training; jit, eager and vmap."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module

import jax
import numpy as np
import pytest
import torch

from equivalence_tests.cases import PAIRS, TWINS, Case
from equivalence_tests.compare import relative_error
from equivalence_tests.test_training import check, data, matched
from twinplate.config import ESTIMATORS, TrainingConfig
from twinplate.evaluation import Evaluation
from twinplate.program import Params
from twinplate.training import Chunk, TrainingState

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


def first_step(case: Case, twin: str, estimator: str) -> tuple[float, Params]:
    """Loss per item and gradient of one compiled training step: a tenth of it is Adam's first moment."""
    training = replace(
        case.training(), estimator=estimator, steps=1, batch_size=case.size[0], seed=case.seed
    )
    module = import_module(f"{twin}_impl.training")
    trainer = module.Trainer(case.x, case.program, training, state=TrainingState.start(case.params))
    noise = {name: values[None] for name, values in case.noise.items()}
    items = np.arange(case.size[0])[None]
    losses = trainer.run(Chunk(0, items, np.array([1e-3]), noise, estimator))
    return float(losses[0]), {name: m / (1 - 0.9) for name, m in trainer.state.mean.items()}


def compare_first_step(case: Case, twin: str, other: str, estimator: str) -> None:
    """With what the other twin says without compiling anything."""
    loss, gradient = first_step(case, twin, estimator)
    with jax.disable_jit():
        expected = evaluated(case, other, estimator)
    assert relative_error(np.array(loss * len(case.x)), np.array(expected.loss)) <= 1e-12
    assert gradient.keys() == expected.gradient.keys()
    for name, values in expected.gradient.items():
        assert relative_error(gradient[name], values) <= 1e-12, name


CONDITION = {ESTIMATORS[0]: "particles-vectorised", ESTIMATORS[1]: "missing"}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("guide", "covariance"), PAIRS)
def test_compiled_steps_of_numpyro(guide: str, covariance: str, estimator: str) -> None:
    condition = CONDITION.get(estimator, "subsampled")
    case = Case(guide, covariance, condition, amplitude=True, learned=True)
    compare_first_step(case, "numpyro", "pyro", estimator)


@pytest.mark.parametrize(
    "machine_code", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "compiled"]
)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("guide", "covariance"), PAIRS)
def test_compiled_steps_of_pyro(
    guide: str,
    covariance: str,
    estimator: str,
    machine_code: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The captured graph, operation by operation or as machine code, against NumPyro without jit."""
    if not machine_code:
        interpret = lambda graph, _: torch.no_grad()(graph.module.forward)
        monkeypatch.setattr("pyro_impl.compiled_svi.compile_graph", interpret)
    condition = CONDITION.get(estimator, "subsampled")
    case = Case(guide, covariance, condition, amplitude=True, learned=True)
    compare_first_step(case, "pyro", "numpyro", estimator)


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
