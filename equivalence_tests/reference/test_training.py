"""Matched training: 200 steps in both frameworks from one seed, the same to 1e-12."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pyro_impl
from equivalence_tests.reference.agreement import relative_error
from equivalence_tests.reference.cases import PAIRS, TWINS, ReferenceCase
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import ReferenceProgram
from twinplate.seeds import generator
from twinplate.training.loop import train
from twinplate.training.plan import chunks
from twinplate.training.state import Fit

STEPS = 200


def matched_config(**training: object) -> TrainingConfig:
    return TrainingConfig(
        **{"steps": STEPS, "batch_size": 16, "precision": "float64", "device": "cpu", **training}
    )


def matched(case: ReferenceCase, **training: object) -> list[Fit]:
    config = matched_config(**training)
    x, a = data(case), None
    if config.objective == "pairs":
        a = generator(3, "pairs").standard_normal((case.size[1], len(x)))
    return [t.fit(x, far(case), config, a=a, matched=True) for t in TWINS.values()]


def far(case: ReferenceCase) -> ReferenceProgram:
    """The case's program without a width: its guide starts near the standard normal, and has far to go."""
    return replace(case.program, width=None)


def compiled(case: ReferenceCase, **training: object) -> list[Fit]:
    """The same, Pyro's steps compiled although the run is short."""
    config = matched_config(**training)
    x = data(case)
    trainer = pyro_impl.Trainer(x, far(case), config, matched=True)
    plan = chunks(case.program.config, config, len(x), matched=True)
    return [
        train(trainer, plan),
        TWINS["numpyro"].fit(x, far(case), config, matched=True),
    ]


def data(case: ReferenceCase) -> np.ndarray:
    """40 items of the case's own model, hidden where its condition hides."""
    x, _ = case.program.start.simulate(40, generator(2, "items"))
    pattern = np.resize(case.x, x.shape)
    return np.where(np.isnan(pattern), np.nan, x)


def check(fits: list[Fit]) -> None:
    first, second = fits
    assert len(first.losses) == STEPS
    assert first.losses[-20:].mean() < first.losses[:20].mean()
    assert relative_error(first.losses, second.losses) <= 1e-12
    for name in ("params", "mean", "variance", "average"):
        a, b = getattr(first.state, name), getattr(second.state, name)
        assert a.keys() == b.keys()
        for parameter in a:
            # Adam's second moments are not of order one: compare them by their own size.
            size = max(1.0, np.abs(a[parameter]).max())
            assert np.abs(a[parameter] - b[parameter]).max() <= 1e-12 * size, (name, parameter)


@pytest.mark.parametrize(
    "condition", [pytest.param("full-data", marks=pytest.mark.slow), "missing"]
)
@pytest.mark.parametrize(("guide", "covariance"), PAIRS)
def test_matched_training(guide: str, covariance: str, condition: str) -> None:
    check(matched(ReferenceCase(guide, covariance, condition)))


@pytest.mark.parametrize("vectorised", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("guide", "covariance"), [("diagonal", "diagonal"), ("auxiliary", "full")])
def test_matched_training_with_everything_on(guide: str, covariance: str, vectorised: bool) -> None:
    case = ReferenceCase(guide, covariance, "missing", amplitude=True, learned=True)
    check(matched(case, particles=3, vectorize_particles=vectorised))


@pytest.mark.parametrize(
    ("guide", "objective"),
    [
        ("event", "pairs"),
        ("auxiliary", "simulated"),
        pytest.param("event", "simulated", marks=pytest.mark.slow),
        pytest.param("auxiliary", "pairs", marks=pytest.mark.slow),
    ],
)
def test_matched_training_of_the_second_objective(guide: str, objective: str) -> None:
    case = replace(ReferenceCase(guide, "full", "missing"), amplitude=objective == "simulated")
    check(matched(case, objective=objective))


COMPILED = [
    (ReferenceCase("diagonal", "diagonal", "missing"), {}),  # of all compilations the shortest
    pytest.param(ReferenceCase("auxiliary", "full", "missing"), {}, marks=pytest.mark.slow),
    pytest.param(ReferenceCase("event", "low-rank", "missing"), {}, marks=pytest.mark.slow),
    pytest.param(
        ReferenceCase("auxiliary", "full", "missing", amplitude=True, learned=True),
        {"particles": 3},
        marks=pytest.mark.slow,
    ),
    pytest.param(
        ReferenceCase("event", "full", "missing"),
        {"objective": "simulated"},
        marks=pytest.mark.slow,
    ),
    pytest.param(
        ReferenceCase("auxiliary", "full", "full-data"),
        {"estimator": "sticking-the-landing"},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("case", "training"), COMPILED)
def test_matched_training_of_compiled_steps(
    case: ReferenceCase, training: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinplate.training.plan.WARM", 0)
    check(compiled(case, **training))
