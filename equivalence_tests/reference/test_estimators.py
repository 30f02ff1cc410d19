"""Every estimator of the ELBO in both twins, in every way to run it: the same loss, gradient, training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import product
from typing import Any

import jax
import numpy as np
import pytest
import torch

from equivalence_tests.reference.agreement import gradient_error, relative_error
from equivalence_tests.reference.cases import CONDITIONS, PAIRS, TWINS, ReferenceCase
from equivalence_tests.reference.test_training import check, data, matched
from twinplate.programs.config import ESTIMATORS, TrainingConfig
from twinplate.programs.program import Params
from twinplate.training import preparation
from twinplate.training.plan import Chunk
from twinplate.training.state import TrainingState

# Loss and gradient of one mini-batch, of as many fits as a variant runs at once: fit r of a case has the
# parameters and the noise of seed r.
Found = list[tuple[float, Params]]


def evaluated(twin: str, case: ReferenceCase, estimator: str, fits: int = 1) -> Found:
    """By `evaluate`, which runs Pyro as it is and compiles NumPyro's loss."""
    found = []
    for seed in range(fits):
        start = replace(case, seed=seed)
        evaluation = TWINS[twin].evaluate(
            case.x[: case.size[0]],
            case.program,
            start.params,
            start.noise,
            replace(case.training(), estimator=estimator),
            a=case.a,
            num_items=len(case.x),
        )
        found.append((evaluation.loss, evaluation.gradient))
    return found


def interpreted(case: ReferenceCase, estimator: str) -> Found:
    """The same, NumPyro's loss one function after the other."""
    with jax.disable_jit():
        return evaluated("numpyro", case, estimator)


def first_step(case: ReferenceCase, estimator: str) -> dict[str, Any]:
    """Arguments of a training run of one step, on the first items of the case."""
    pairs = None if case.a is None else np.zeros((len(case.a), len(case.x)))
    if pairs is not None:
        pairs[:, : case.size[0]] = case.a
    training = replace(case.training(), estimator=estimator, steps=1, batch_size=case.size[0])
    return {"x": case.x, "program": case.program, "training": training, "a": pairs}


def chunk(case: ReferenceCase, estimator: str, seed: int = 0) -> Chunk:
    """Its only step."""
    noise = {name: values[None] for name, values in replace(case, seed=seed).noise.items()}
    return Chunk(0, np.arange(case.size[0])[None], np.array([1e-3]), noise, estimator)


def of_step(case: ReferenceCase, losses: np.ndarray, state: TrainingState) -> tuple[float, Params]:
    """The loss is per item, and a tenth of the gradient is Adam's first moment."""
    return losses[0] * len(case.x), {name: m / (1 - 0.9) for name, m in state.mean.items()}


def trained(twin: str, case: ReferenceCase, estimator: str, **options: Any) -> Found:
    """By the compiled step of `Trainer`; options: of it."""
    module, start = import_module(f"{twin}_impl.training.trainer"), TrainingState.start(case.params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "check_pairs", anything)
        trainer = module.Trainer(**first_step(case, estimator), state=start, **options)
        losses = trainer.run(chunk(case, estimator))
    return [of_step(case, losses, trainer.state)]


def captured(case: ReferenceCase, estimator: str) -> Found:
    """By the graph of Pyro's step that torch's compiler gets, operation by operation."""
    begun = []

    def begin(graph: Any, arguments: Any, written: Any) -> Any:
        begun.append(graph)
        return lambda: torch.no_grad()(graph.module.forward)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_impl.compiled.building.begin_compiling", begin)
        found = trained("pyro", case, estimator, machine_code=True)
    assert begun
    return found


def restarted(case: ReferenceCase, estimator: str) -> Found:
    """By two fits in one vmap."""
    module = import_module("numpyro_impl.training.restarts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "check_pairs", anything)
        first = lambda _, seed: replace(case, seed=seed).params
        patch.setattr(preparation, "initial_params", first)
        plan = lambda _, training, *__: iter([chunk(case, estimator, training.seed)])
        patch.setattr(preparation, "chunks", plan)
        many = module.fit_many(**first_step(case, estimator), seeds=(0, 1), matched=True)
    return [of_step(case, fit.losses, fit.state) for fit in many.fits]


def anything(*_: Any) -> None:
    """Instead of `check_pairs`: the ELBO of an observed `a` is compared though no training asks for it."""


# name -> the twin that is run, and how; the other one by `evaluate`
VARIANTS: dict[str, tuple[str, Callable[[ReferenceCase, str], Found]]] = {
    "eager": ("numpyro", interpreted),
    "jit": ("numpyro", partial(evaluated, "numpyro")),
    "vmap": ("numpyro", restarted),
    "step": ("numpyro", partial(trained, "numpyro")),
    "graph": ("pyro", captured),
    "machine-code": ("pyro", partial(trained, "pyro", machine_code=True)),
}


def ways() -> Iterator[Any]:
    """Pairs × conditions × variants, the estimators in a Latin square.

    So every variant has each pair with each estimator, and with each condition. What is not slow has each
    pair once with each condition, the variants in turns, each pair with each estimator, and each estimator
    with each condition; eager, which takes seconds, twice.
    """
    rows, columns = enumerate(CONDITIONS), enumerate(VARIANTS)
    for (p, pair), (c, condition), (v, variant) in product(enumerate(PAIRS), rows, columns):
        estimator = ESTIMATORS[-(p + c + v) % len(ESTIMATORS)]
        turn = (p + c) % (len(VARIANTS) - 1)  # no machine code
        turn = turn if turn or c == 0 else 1 + p % 4  # one of those that are neither
        marks = () if v == turn else pytest.mark.slow
        case = ReferenceCase(*pair, condition, amplitude=True, learned=True)
        name = f"{'-'.join(pair)}-{estimator}-{condition}-{variant}"
        yield pytest.param(case, estimator, variant, marks=marks, id=name)


@pytest.mark.parametrize(("case", "estimator", "variant"), list(ways()))
def test_loss_and_gradient_agree(case: ReferenceCase, estimator: str, variant: str) -> None:
    twin, run = VARIANTS[variant]
    (other,) = TWINS.keys() - {twin}
    found = run(case, estimator)
    expected = evaluated(other, case, estimator, len(found))
    for (loss, gradient), (other_loss, other_gradient) in zip(found, expected, strict=True):
        assert relative_error(np.array(other_loss), np.array(loss)) <= 1e-12
        assert gradient.keys() == other_gradient.keys() == case.params.keys()
        for name, values in other_gradient.items():
            assert np.abs(values).max() > 0
            assert gradient_error(values, gradient[name]) <= 1e-12, name


@pytest.mark.parametrize("estimator", ESTIMATORS[1:])
@pytest.mark.parametrize(
    ("guide", "covariance"),
    [("diagonal", "diagonal"), ("auxiliary", "low-rank"), ("event", "full")],
)
def test_matched_training(guide: str, covariance: str, estimator: str) -> None:
    check(matched(ReferenceCase(guide, covariance, "missing", amplitude=True), estimator=estimator))


def test_matched_restarts() -> None:
    """All of them in one vmap in one twin, one after the other in the other."""
    case = ReferenceCase("auxiliary", "full", "missing")
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
