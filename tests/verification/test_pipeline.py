"""The three steps of a comparison: findings, then allowances, then explanations, each once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from twinplate import Record, compare
from twinplate.records.record import PRECISIONS, Given, Parameter, Run, Settings, Site
from twinplate.verification.comparison import pipeline

INACCURACY = 1e-7  # relative; the table allows Pyro's von Mises 2e-6


def made(
    framework: str,
    *,
    family="VonMises",
    density=-1.25,
    concentration=3.0,
    gradient=None,
    mask=None,
    draws=("0",),
    **arguments,
) -> Record:
    """A record of one observed site in one draw; every number responds to the perturbed inputs.

    arguments: besides concentration and loc.  gradient: (n,), in a parameter "a".
    """

    def run(moved: float) -> Run:
        site = Site(
            "observed", (), (), (), "circular", family, "float64", 1.0,
            np.array([0.5]),
            np.array([density * moved]),
            mask,
            {"concentration": np.array([concentration * moved]), "loc": np.array([0.1])}
            | {name: np.array([value]) for name, value in arguments.items()},
        )  # fmt: skip
        parameters = {}
        if gradient is not None:
            slopes = np.array(gradient) * moved
            parameters["a"] = Parameter("real", np.ones(len(slopes)), slopes)
        return Run(model={"x": site}, parameters=parameters, loss=np.array([-density * moved]))

    runs = {(d, name): run(1 + i * 2.0**-40) for d in draws for i, name in enumerate(PRECISIONS)}
    settings = Settings(seeds=tuple(map(int, draws)), stress=False)
    return Record(framework, {}, settings, {}, runs, {draw: Given() for draw in draws})


FIRST = made("pyro")
INACCURATE = made("numpyro", density=-1.25 * (1 + INACCURACY))


def test_what_is_the_same_has_no_findings():
    assert compare(FIRST, made("numpyro")).findings == ()


def test_an_inaccuracy_and_the_loss_that_follows_from_it_are_notes():
    report = compare(FIRST, INACCURATE)
    density, loss = report.findings
    assert (report.verdict, density.level, loss.level) == ("same", "note", "note")
    assert (density.stage, density.site, density.draw) == ("density", "x", "0")
    assert density.message.count("Pyro's VonMises is inaccurate") == 1
    assert loss.message.count("Within the inaccuracy of the density of x") == 1


@pytest.mark.parametrize(
    "second",
    [
        made("numpyro", density=-1.25 * (1 + INACCURACY), concentration=3.1),
        made("numpyro", density=-1.25 * (1 + 100 * INACCURACY)),
    ],
    ids=["another argument", "more than the table allows"],
)
def test_nothing_else_is_allowed(second):
    density, loss = compare(FIRST, second).findings
    assert (density.level, loss.level) == ("difference", "difference")
    assert "inaccura" not in density.message + loss.message


def test_a_family_that_is_not_in_the_table_allows_nothing():
    records = made("pyro", family="Normal"), made("numpyro", family="Normal", density=-1.2500001)
    assert compare(*records).verdict == "differs"


def test_a_difference_is_explained_once():
    density, _ = compare(FIRST, made("numpyro", density=-1.5, concentration=3.1)).findings
    assert density.message == "differs (1 of 1 numbers). Its concentration differs"


def test_what_is_allowed_comes_to_the_explanations_as_a_note(monkeypatch):
    seen = []

    def explained(finding, pair):
        seen.append((finding.stage, finding.level, pair.draw))
        return finding

    monkeypatch.setattr(pipeline, "explained", explained)
    compare(FIRST, INACCURATE)
    assert seen == [("density", "note", "0"), ("loss", "note", "0")]


# -- where a family has no bound -----------------------------------------------------------------------

CLAMPED = {"family": "Bernoulli", "probs": 1e-20}


def bernoulli(framework: str, density: float, gradient=None, **changed) -> Record:
    return made(framework, density=density, gradient=gradient, **CLAMPED | changed)


def test_beyond_its_range_a_density_has_no_bound_and_spoils_the_gradient_there():
    """Pyro clamps the probability, NumPyro has log(1e-20) = -46.05 and its gradient."""
    report = compare(
        bernoulli("pyro", -36.04, (0.0, 2.0)), bernoulli("numpyro", -46.05, (-1.0, 2.0))
    )
    assert [(f.stage, f.level) for f in report.findings] == [
        ("density", "note"),
        ("loss", "note"),
        ("gradient", "note"),
    ]


@pytest.mark.parametrize(
    "changed",
    [{"probs": 1e-3}, {"mask": np.array([False])}, {"family": "Poisson"}],
    ids=["within its range", "another mask", "another family's range"],
)
def test_a_family_without_bound_hides_nothing_else(changed):
    first = bernoulli("pyro", -36.04, **{k: v for k, v in changed.items() if k != "mask"})
    assert compare(first, bernoulli("numpyro", -46.05, **changed)).verdict == "differs"


@pytest.mark.parametrize(("judged", "verdict"), [((), "undecided"), (("1",), "same")])
def test_a_gradient_that_no_draw_could_judge_is_undecided(judged, verdict):
    """In the draws of `judged` the probability is within the range, and all agrees."""
    records = []
    for framework, density, gradient in (("pyro", -36.04, 0.0), ("numpyro", -46.05, -1.0)):
        spoilt = bernoulli(framework, density, (gradient,), draws=("0", "1"))
        fine = bernoulli(framework, -1.25, (2.0,), draws=("0", "1"), probs=0.3)
        runs = {**spoilt.runs, **{k: run for k, run in fine.runs.items() if k[0] in judged}}
        records.append(replace(spoilt, runs=runs))
    report = compare(*records)
    assert report.verdict == verdict
    assert "cannot be judged" in next(f.message for f in report.findings if f.stage == "gradient")


def test_a_gradient_alone_is_inaccurate_where_the_density_is_not():
    """Near 1 Pyro's gradient in probs cancels; the density is exact."""
    near, far = 1 - 1e-10, 0.3
    pair = [(f, g) for f, g in (("pyro", (1.00001, 2.0)), ("numpyro", (1.0, 2.0)))]
    verdicts = [
        compare(*(bernoulli(f, -1e-10, g, probs=probs) for f, g in pair)).verdict
        for probs in (near, far)
    ]
    assert verdicts == ["same", "differs"]


# -- functions that programs call themselves -----------------------------------------------------------


@pytest.mark.parametrize(
    ("operations", "change", "verdict"),
    [
        (("digamma",), {"gradient": (1 + 5e-10,)}, "same"),
        (("lgamma",), {"gradient": (1 + 5e-10,)}, "differs"),
        (("digamma",), {"gradient": (1 + 1e-8,)}, "differs"),
        (("digamma",), {"density": -1.25 - 1e-9}, "differs"),
        (("polygamma",), {"density": -1.25 - 6.5e-10}, "same"),
        (("polygamma",), {"density": -1.25 - 1e-8}, "differs"),
        (("softplus(beta=1, threshold=20)",), {"gradient": (1 + 2e-9,)}, "same"),
    ],
)
def test_an_inaccurate_function_explains_what_its_error_makes(operations, change, verdict):
    """torch's trigamma is right to 5e-10, the derivative of its softplus to 2e-9."""
    rest = {"family": "Normal", "gradient": (1.0,)}
    first = replace(made("pyro", **rest), operations=operations)
    report = compare(first, made("numpyro", **rest | change))
    assert report.verdict == verdict
    assert ("inaccurate function" in report.findings[0].message) == (verdict == "same")


def test_the_same_finding_of_two_draws_is_kept_once():
    twice = [made(f, density=d, draws=("0", "1")) for f, d in (("pyro", -1.25), ("numpyro", -1.5))]
    assert [(f.stage, f.draw) for f in compare(*twice).findings] == [
        ("density", "0"),
        ("loss", "0"),
    ]
