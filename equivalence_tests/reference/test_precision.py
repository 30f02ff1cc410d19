"""Single precision, judged by what double precision says of the same number, not by a tolerance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from equivalence_tests.reference.cases import ReferenceCase, all_programs, half_of_them_slow
from twinplate.records.evaluation import Evaluation
from twinplate.verification.comparison.rounding import PERTURBATION, judge

CONDITIONS = ("missing", "particles-vectorised")


def _cases() -> list[ReferenceCase]:
    return [replace(case, condition=c) for case in all_programs() for c in CONDITIONS]


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


@pytest.mark.parametrize("case", half_of_them_slow(_cases()))
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
