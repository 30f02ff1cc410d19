"""The steps of a comparison: findings, allowances, the site of a loss, explanations, each once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from twinplate import Finding, Record, compare
from twinplate.records.record import PRECISIONS, Failure, Given, Parameter, Run, Settings, Site
from twinplate.verification.comparison import pipeline
from twinplate.verification.comparison.outcome import Outcome
from twinplate.verification.reports.rows import rows

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


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_constant_made_in_single_precision_is_named_and_what_to_do(which):
    exact, single = (
        made("pyro", loc_of=0.7),
        made("pyro", loc_of=float(np.float32(0.7)), density=-1.3),
    )
    pair = (single, exact) if which == "first" else (exact, single)
    said = compare(*pair).findings[0].message
    assert f"The {which} program's loc_of is the other's rounded to single precision" in said
    assert "Program.build" in said


@pytest.mark.parametrize(("pyros", "numpyros"), [("dropout", "add"), ("add", "_bernoulli")])
def test_dropout_is_named_as_what_cannot_be_compared(pyros, numpyros):
    """By what `nn.Dropout` and flax' `Dropout` call."""
    first = replace(made("pyro"), operations=(pyros,))
    second = replace(made("numpyro", loc=0.3, density=-1.4), operations=(numpyros,))
    assert "Perhaps dropout, whose masks are no sites" in compare(first, second).findings[0].message


def test_two_programs_of_one_framework_have_its_version_each():
    versions = {"python": "3.11", "torch": "2.13", "pyro": "1.9", "device": "cpu"}
    record = replace(FIRST, versions=versions)
    footer = str(compare(record, record)).splitlines()[-3:]
    assert footer == [
        "first   torch 2.13, pyro 1.9 on cpu",
        "second  torch 2.13, pyro 1.9 on cpu",
        "both    python 3.11",
    ]


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


def test_whole_numbers_in_single_precision_are_named():
    second = made("numpyro", family="Normal", density=-1.25 + 1e-6)
    second = replace(second, operations=("convert_element_type(int32 to float32)",))
    report = compare(made("pyro", family="Normal"), second)
    assert "whole numbers of the numpyro program in int32" in report.findings[0].message


def test_what_is_allowed_comes_to_the_explanations_as_a_note(monkeypatch):
    seen = []

    def explained(finding, pair):
        seen.append((finding.stage, finding.level, pair.draw))
        return finding

    monkeypatch.setattr(pipeline, "explained", explained)
    compare(FIRST, INACCURATE)
    assert seen == [("density", "note", "0"), ("loss", "note", "0")]


def test_a_difference_of_an_earlier_draw_comes_before_a_stop():
    stops, draws = Failure("model", "x", "ValueError: no", ""), ("0", "1")
    first = made("pyro", draws=draws)
    for density, verdict, stage in (
        (-1.5, "differs", "density"),
        (-1.25, "could not run", "execution"),
    ):
        second = made("numpyro", density=density, draws=draws)
        runs = {k: run if k[0] == "0" else Run(failure=stops) for k, run in second.runs.items()}
        report = compare(first, replace(second, runs=runs))
        assert (report.verdict, report.findings[0].stage) == (verdict, stage)


def test_structure_that_differs_comes_before_a_stop():
    run = replace(FIRST.runs["0", "float64"], failure=Failure("loss", None, "ValueError: no", ""))
    shaped = replace(run, model={"x": replace(run.model["x"], event_shape=(2,))})
    for stopped, verdict in ((run, "could not run"), (shaped, "differs")):
        second = replace(made("numpyro"), runs={("0", "float64"): stopped})
        assert compare(FIRST, second).verdict == verdict


@pytest.mark.parametrize(("differing", "verdict"), [("x", "differs"), ("y", "could not run")])
def test_a_number_that_is_nan_in_both_stands_where_it_would_be_compared(differing, verdict):
    """`x` comes before `y` in both programs; one of them is NaN, the other differs."""
    records = []
    for framework, density in (("pyro", -1.25), ("numpyro", -1.5)):
        parts = {True: made(framework, density=density), False: made(framework, density=np.nan)}
        runs = {
            key: replace(run, model={n: parts[n == differing].runs[key].model["x"] for n in "xy"})
            for key, run in parts[False].runs.items()
        }
        records.append(replace(parts[False], runs=runs))
    assert compare(*records).verdict == verdict


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


def test_an_impossible_value_allows_a_gradient_nothing():
    """Its density is -inf in both programs, and no size by which to measure."""
    pair = (("pyro", (0.0,)), ("numpyro", (-1.0,)))
    records = [bernoulli(f, -np.inf, gradient, probs=0.3) for f, gradient in pair]
    (finding,) = compare(*records).findings
    assert (finding.stage, finding.level) == ("gradient", "difference")


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


# -- a loss that differs names a site ------------------------------------------------------------------


def with_latent(record: Record, loss: float, image: float) -> Record:
    """The record with a latent that agrees in both, a loss of its own, and an unconstrained value."""
    runs = {}
    for key, run in record.runs.items():
        z = replace(run.model["x"], kind="latent", support="unit_interval", family="Beta")
        parameters = {"z": Parameter("unconstrained", np.array([image]), np.array([1.0]))}
        runs[key] = replace(
            run, model={**run.model, "z": z}, loss=np.array([loss]), parameters=parameters
        )
    return replace(record, runs=runs)


@pytest.mark.parametrize("image", [36.74, 36.04], ids=["another image", "the same image"])
def test_a_loss_that_differs_although_all_sites_agree_names_the_latent(image):
    """The frameworks' own maps to unconstrained values, or Jacobians, are not those of one number."""
    report = compare(
        with_latent(made("pyro"), 5.0, 36.04), with_latent(made("numpyro"), 5.7, image)
    )
    assert (report.findings[0].stage, report.findings[0].site) == ("loss", "z")
    assert str(report).startswith("DIFFERS: loss, by site z: differs")
    marks = {(row.program, row.name): row.level for row in rows(report)}
    assert (marks["loss", ""], marks["loss", "z"]) == ("difference", "same")


def test_a_loss_that_follows_from_a_site_names_it():
    density, loss = compare(FIRST, made("numpyro", density=-1.5, concentration=3.1)).findings
    assert (loss.stage, loss.site) == (("loss"), density.site) == ("loss", "x")


def test_the_rounding_of_sites_adds_up_in_the_loss():
    """Each density is judged the same; their sum cancels to a loss that differs by as much."""
    first, second = (
        made("pyro", family="Normal"),
        made("numpyro", family="Normal", density=-1.25 + 4e-10),
    )
    records = [with_latent(r, loss, 1.0) for r, loss in ((first, 1e-3), (second, 1e-3 - 7e-10))]
    report = compare(*records)
    assert report.verdict == "same"
    assert "rounding adds up" in report.findings[0].message


def test_no_headline_without_a_site():
    """It is an invariant of every outcome."""
    with pytest.raises(AssertionError):
        Outcome("differs", (Finding("difference", "loss", "loss", "", "differs"),), FIRST, FIRST)


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
        (("polygamma",), {"density": -np.inf}, "differs"),
    ],
)
def test_an_inaccurate_function_explains_what_its_error_makes(operations, change, verdict):
    """torch's trigamma is right to 5e-10, the derivative of its softplus to 2e-9."""
    rest = {"family": "Normal", "gradient": (1.0,)}
    first = replace(made("pyro", **rest), operations=operations)
    report = compare(first, made("numpyro", **rest | change))
    assert report.verdict == verdict
    assert ("inaccurate function" in report.findings[0].message) == (verdict == "same")


@pytest.mark.parametrize("other", [-1.25, -np.inf])
def test_infinite_numbers_are_no_inaccuracy(other):
    """Not one beside a finite one; and of two, no difference is taken, which would be a warning."""
    first, second = (
        replace(made(f, family="Normal", density=d), operations=("polygamma",))
        for f, d in (("pyro", -np.inf), ("numpyro", other))
    )
    report = compare(first, second)
    assert report.verdict == ("same" if other == -np.inf else "differs")


def test_the_same_finding_of_two_draws_is_kept_once():
    twice = [made(f, density=d, draws=("0", "1")) for f, d in (("pyro", -1.25), ("numpyro", -1.5))]
    assert [(f.stage, f.draw) for f in compare(*twice).findings] == [
        ("density", "0"),
        ("loss", "0"),
    ]


# -- beyond double precision ------------------------------------------------------------------------------


def with_stress(framework: str, extreme: float, draw="stress", **ordinary) -> Record:
    """A record of draw 0, and of another with that log density."""
    usual, far = made(framework, **ordinary), made(framework, density=extreme)
    runs = {(draw, precision): run for (_, precision), run in far.runs.items()}
    settings = Settings(seeds=(0,) if draw == "stress" else (0, 1), stress=draw == "stress")
    given = {**usual.given, draw: Given()}
    return replace(usual, runs={**usual.runs, **runs}, settings=settings, given=given)


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
@pytest.mark.parametrize("nan_in", ["first", "second"])
def test_nan_in_one_program_and_infinity_in_the_other_are_a_note_of_the_stress_draw(
    nan_in, infinite
):
    """Which of the two a number beyond 1e308 becomes depends on the order of the operations."""
    numbers = (np.nan, infinite) if nan_in == "first" else (infinite, np.nan)
    pair = [with_stress(f, n) for f, n in zip(("pyro", "numpyro"), numbers, strict=True)]
    report = compare(*pair)
    assert report.verdict == "same", report
    assert {f.stage for f in report.findings} == {"density", "loss"}
    assert all("beyond double precision in both programs" in f.message for f in report.findings)
    spoilt = with_stress("numpyro", numbers[1], concentration=3.1, density=-1.3)
    report = compare(pair[0], spoilt)
    assert (report.verdict, report.findings[0].draw) == ("differs", "0")


@pytest.mark.parametrize(
    ("numbers", "draw"),
    [
        ((np.nan, -800.0), "stress"),
        ((-np.inf, -800.0), "stress"),
        ((np.inf, -np.inf), "stress"),
        ((np.nan, -np.inf), "1"),
    ],
)
def test_where_one_program_has_a_number_or_the_draw_is_ordinary_it_is_a_difference(numbers, draw):
    pair = [with_stress(f, n, draw) for f, n in zip(("pyro", "numpyro"), numbers, strict=True)]
    assert compare(*pair).verdict == "differs"
