"""`twinplate choose`: what it says, writes and refuses, with fits of both frameworks."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from verify_files import twinplate

from twinplate import LinearGaussian
from twinplate.choosing.rule import choose
from twinplate.choosing.trials import Trial, _Clock, try_covariances, usual_covariances
from twinplate.choosing.verdict import Verdict, sentences
from twinplate.commands import choice
from twinplate.commands.choice import decide

pytestmark = pytest.mark.usefixtures("own_folder")
MODEL = LinearGaussian(np.random.default_rng(5).normal(size=(7, 2)), 1.0, 0.4)


def items(missing: float = 0.0, num_items: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    x, _ = MODEL.simulate(num_items, rng)
    x[rng.random(x.shape) < missing] = np.nan
    return x


def write(path: str, x: np.ndarray) -> None:
    lines = ["patient,extra," + ",".join(f"f{d}" for d in range(x.shape[1]))]
    for n, row in enumerate(x):
        cells = ["" if np.isnan(v) else repr(float(v)) for v in row]
        lines.append(f"p{n},{n % 3},{','.join(cells)}")
    Path(path).write_text("\n".join(lines) + "\n")


def test_the_command_finds_two_components_and_its_own_command_fits_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choice, "try_covariances", lambda *given: try_covariances(*given, steps=3))
    write("x.csv", items(missing=0.15))
    columns = ("--drop", "extra", "--id-column", "patient")
    out = ("--json", "c.json", "--picture", "c.svg")
    assert twinplate("choose", "x.csv", "--components", "1-3", *columns, *out) == 0
    found = json.loads(Path("c.json").read_text())
    assert found["chosen"]["components"] == 2 and found["items"] == 200
    assert [row["components"] for row in found["components"]] == [1, 2, 3]
    assert found["components"][0]["behind_chosen"] > 0.2 > found["components"][2]["behind_chosen"]
    assert {(t["covariance"], t["backend"]) for t in found["trials"]} == {
        (covariance, backend)
        for covariance in ("diagonal", "full")
        for backend in ("pyro", "numpyro")
    }
    assert all(t["elbo"] < t["log_evidence"] and t["step_seconds"] > 0 for t in found["trials"])
    printed = capsys.readouterr().out
    assert found["sentences"][0] in printed and "Take 2 components" in printed
    assert Path("c.svg").read_text().startswith("<?xml")
    words = shlex.split(found["command"])
    assert words[:3] == ["twinplate", "fit", "x.csv"] and words[-2:] == ["--out", "RUN"]
    asked = {}
    monkeypatch.setattr(
        "twinplate.commands.fit_command.run_fit", lambda request, *_: asked.update(r=request)
    )
    assert twinplate(*words[1:]) == 0
    request = asked["r"]
    assert (request.components, request.missing, request.wanted.drop) == (2, "mask", ("extra",))
    assert request.covariance == found["chosen"]["covariance"]


def test_of_small_counts_it_says_what_fit_says(monkeypatch, capsys) -> None:
    monkeypatch.setattr(choice, "available_backends", list)
    np.save("x.npy", np.random.default_rng(0).poisson(3.0, (40, 4)))
    assert twinplate("choose", "x.npy", "--components", "1", "--json", "c.json") == 0
    (note,) = json.loads(Path("c.json").read_text())["notes"]
    assert "small counts" in note and f"Note: {note}" in capsys.readouterr().out


def test_without_frameworks_components_are_chosen_all_the_same(monkeypatch) -> None:
    monkeypatch.setattr(choice, "available_backends", list)
    verdict = decide(items(), (1, 2, 3))
    assert verdict.k == 2 and verdict.command == "twinplate fit DATA --components 2 --out RUN"
    said = " ".join(sentences(verdict))
    assert "worse by" in said and "without components" not in said
    noise = decide(np.random.default_rng(0).normal(size=(200, 6)), (1, 2))
    assert "A model without components is as good" in " ".join(sentences(noise))


def test_no_more_components_are_advised_than_are_accepted() -> None:
    scores = np.random.default_rng(0).normal(size=(400, 1)) + np.array([0.0, 1.0])
    verdict = Verdict((5, 6), choose(scores), (), 400, most=9, ruling="p17")
    said = " ".join(sentences(verdict))
    assert "--components 6-9; 9 is the bound" in said
    assert "One item, p17, makes most of the standard error" in said
    assert "no more than 6 can be told apart" in " ".join(sentences(replace(verdict, most=6)))
    assert "certain." in said and "certain." not in " ".join(sentences(replace(verdict, items=20)))
    assert "One item" not in " ".join(sentences(replace(verdict, items=20)))
    assert "a guess, as 20 items are few" in " ".join(sentences(replace(verdict, items=20)))


def test_by_default_no_more_are_tried_than_few_items_allow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choice, "available_backends", list)
    np.save("it's.npy", np.random.default_rng(0).normal(size=(10, 20)))
    assert twinplate("choose", "it's.npy", "--json", "c.json") == 0
    found = json.loads(Path("c.json").read_text())
    assert [row["components"] for row in found["components"]] == list(range(1, 9))  # 8 of 10 items
    assert (
        shlex.split(found["command"])[2] == "it's.npy" and "-0.0000" not in capsys.readouterr().out
    )


def test_an_item_that_rules_the_error_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "available_backends", list)
    x = items()
    x[40] *= np.where(np.arange(7) % 2, 25.0, -25.0)
    assert decide(x, (1, 2)).ruling == "row 41" and decide(items(), (1, 2)).ruling == ""


def trial(covariance: str, backend: str, missed: float, step: float, compiling: float) -> Trial:
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=400)
    return Trial(covariance, backend, evidence - missed, evidence, compiling, step)


def test_the_simplest_covariance_that_misses_no_more_and_the_fastest_backend() -> None:
    scores = np.random.default_rng(0).normal(size=(400, 1)) + np.array([0.0, 1.0])
    base = Verdict((1, 2), choose(scores), (), 400)
    trials = (
        trial("diagonal", "pyro", 0.5, 0.001, 0.0),
        trial("diagonal", "numpyro", 0.5, 0.001, 0.0),
        trial("full", "pyro", 0.0, 0.010, 1.0),  # 31 s for 3,000 steps
        trial("full", "numpyro", 0.0, 0.003, 6.0),  # 15 s
    )
    verdict = replace(base, trials=trials)
    assert (verdict.covariance, verdict.ranked[0].backend) == ("full", "numpyro")
    text = " ".join(sentences(verdict))
    assert "numpyro takes 15 s for 3,000 steps" in text and "pyro 2.1 times as long" in text
    assert "diagonal would reach less by 0.5" in text and "2 is the most that was tried" in text
    alike = tuple(replace(t, elbo=t.evidence) for t in trials)
    assert replace(base, trials=alike).covariance == "diagonal"
    assert usual_covariances(1) == ("diagonal",) and usual_covariances(4)[1] == "low-rank"


def test_the_first_steps_compile_and_the_later_ones_tell_the_time(monkeypatch) -> None:
    now = iter([10.0, 17.0, 19.0, 21.0])
    monkeypatch.setattr("twinplate.choosing.trials.time.perf_counter", lambda: next(now))
    clock = _Clock()
    for done in (100, 200, 300):
        clock(done, np.zeros(100))
    assert clock.seconds() == (5.0, 0.02)  # 7 s for the first hundred, 2 s for each later one


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("none.csv",), "none.csv does not exist"),
        (("x.csv", "--components", "0-3"), "--components has '0-3'; expected numbers from 1 on"),
        (("x.csv", "--components", "3-1"), "expected numbers from 1 on, in rising order"),
        (("x.csv", "--components", "two"), "--components is 'two'; expected numbers such as 1-8"),
        (("x.csv", "--components", "1-99"), "--components has more than 50 numbers"),
        (("x.csv", "--components", "12"), "--components has 12; expected 1 to 8"),
        (("few.csv",), "there are 4 items; expected 10 or more"),
        (
            ("x.csv", "--picture", "c.pdf"),
            "--picture is c.pdf; expected a name that ends in .png or .svg",
        ),
        (("x.csv", "--json", "no/c.json"), "expected a file in a directory that exists"),
    ],
)
def test_bad_input_is_one_sentence(capsys: pytest.CaptureFixture[str], words, sentence) -> None:
    write("x.csv", items(num_items=30))
    write("few.csv", items(num_items=4))
    before = sorted(Path().iterdir())
    assert twinplate("--quiet", "choose", *words, "--id-column", "patient") == 2
    text = capsys.readouterr().err.strip()
    assert sentence in text and text.startswith("twinplate: ") and "\n" not in text
    assert sorted(Path().iterdir()) == before
