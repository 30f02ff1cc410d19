"""The three steps of a comparison: findings, then allowances, then explanations, each once."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate import Record, compare
from twinplate.records.record import PRECISIONS, Given, Run, Settings, Site
from twinplate.verification.comparison import pipeline

INACCURACY = 1e-7  # relative; the table allows Pyro's von Mises 2e-6


def made(framework: str, *, family="VonMises", density=-1.25, concentration=3.0) -> Record:
    """A record of one observed site in one draw; every number responds to the perturbed inputs."""

    def run(moved: float) -> Run:
        site = Site(
            "observed", (), (), (), "circular", family, "float64", 1.0,
            np.array([0.5]),
            np.array([density * moved]),
            None,
            {"concentration": np.array([concentration * moved]), "loc": np.array([0.1])},
        )  # fmt: skip
        return Run(model={"x": site}, loss=np.array([-density * moved]))

    runs = {("0", name): run(1 + i * 2.0**-40) for i, name in enumerate(PRECISIONS)}
    settings = Settings(seeds=(0,), stress=False)
    return Record(framework, {}, settings, {}, runs, {"0": Given()})


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
    assert density.message == "differs (1 of 1 numbers at [0]). Its concentration differs"


def test_what_is_allowed_comes_to_the_explanations_as_a_note(monkeypatch):
    seen = []

    def explained(finding, pair):
        seen.append((finding.stage, finding.level, pair.draw))
        return finding

    monkeypatch.setattr(pipeline, "explained", explained)
    compare(FIRST, INACCURATE)
    assert seen == [("density", "note", "0"), ("loss", "note", "0")]


def test_the_same_finding_of_two_draws_is_kept_once():
    settings = Settings(seeds=(0, 1), stress=False)
    first, second = FIRST, made("numpyro", density=-1.5)
    twice = [
        Record(r.framework, {}, settings, {},
               {(draw, name): run for (_, name), run in r.runs.items() for draw in ("0", "1")},
               {"0": Given(), "1": Given()})
        for r in (first, second)
    ]  # fmt: skip
    assert [(f.stage, f.draw) for f in compare(*twice).findings] == [
        ("density", "0"),
        ("loss", "0"),
    ]
