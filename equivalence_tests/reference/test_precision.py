"""Single precision, judged by what double precision says of the same number, not by a tolerance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from equivalence_tests.reference.cases import PAIRS, ReferenceCase, all_programs
from twinplate.records.evaluation import Evaluation
from twinplate.verification.comparison.rounding import PERTURBATION, judge

CONDITIONS = ("missing", "particles-vectorised")


def _cases() -> Iterator[Any]:
    """Those are not slow that have every two of pair, condition, amplitude and learned in every way, once."""
    for case, (c, condition) in product(all_programs(), enumerate(CONDITIONS)):
        place = PAIRS.index((case.guide, case.covariance))
        is_first = (case.amplitude, case.learned) == ((place + c) % 2, (place // 2 + c) % 2)
        named = replace(case, condition=condition)
        yield pytest.param(named, id=str(named), marks=() if is_first else pytest.mark.slow)


def flat(run: Evaluation) -> dict[str, np.ndarray]:
    """Every number of a run by place."""
    numbers = {"elbo": run.elbo, "loss": np.array(run.loss)}
    for program in ("guide", "model"):
        for name, site in getattr(run, program).items():
            numbers[f"{program} {name} value"] = site.value
            numbers[f"{program} {name} density"] = site.log_prob
    return {**numbers, **{f"gradient {name}": v for name, v in run.gradient.items()}}


def perturbed(case: ReferenceCase) -> Evaluation:
    """Every input of the first program changed by a relative 2⁻⁴⁰, up or down."""
    rng = np.random.default_rng(1)

    def nudge(values: np.ndarray) -> np.ndarray:
        return values * (1 + PERTURBATION * rng.choice([-1.0, 1.0], np.shape(values)))

    return case.run(
        "pyro",
        x=nudge(case.x),
        params={name: nudge(v) for name, v in case.params.items()},
        noise={name: nudge(v) for name, v in case.noise.items()},
    )


@pytest.mark.parametrize("case", list(_cases()))
def test_twins_agree_at_two_precisions(case: ReferenceCase) -> None:
    runs = [
        flat(case.run(twin, precision))
        for precision in ("float64", "float32")
        for twin in ("pyro", "numpyro")
    ]
    assert all(run.keys() == runs[0].keys() for run in runs)
    second_opinion = flat(perturbed(case))
    for place in runs[0]:
        judgement = judge(*(run[place] for run in runs), a_perturbed=[second_opinion[place]])
        assert judgement.verdict == "same", f"{place}: {judgement.ratio.max():.3g} of the noise"


@pytest.mark.parametrize("twin", ["pyro", "numpyro"])
def test_single_precision_really_is_single(twin: str) -> None:
    case = ReferenceCase()
    single, double = (case.run(twin, precision).elbo for precision in ("float32", "float64"))
    error = np.max(np.abs(single - double) / np.abs(double))
    assert 1e-9 < error < 1e-4
