"""The page that `twinplate report` writes: what it says, in a browser, of odd runs, and of bad input."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page_checks import Page, accessible, in_order, page
from reported_runs import MODEL, data, noisier, reported, write_data, write_run
from verify_files import twinplate

from twinplate import LinearGaussian
from twinplate.reporting.again import command_of
from twinplate.reporting.calibration import Calibration, hide
from twinplate.reporting.page import report_page
from twinplate.reporting.sections import known_line
from twinplate.reporting.sentences import headline, remarks

pytestmark = pytest.mark.usefixtures("own_folder")
__all__ = ["page"]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip()


def test_the_page_of_two_runs_and_data(page: Page) -> None:
    table = write_data("x.csv", data())
    losses = 9 + np.random.default_rng(0).normal(size=80)
    write_run("one <b>", table, losses=losses, backend="pyro")
    write_run("two", table, losses=losses, backend="numpyro")
    write_run("three", table, losses=losses, guide="diagonal", backend="numpyro")
    out = ("--data", "x.csv", "--out", "r.html", "--json", "r.json")
    assert twinplate("report", "one <b>", "two", "three", *out) == 0
    in_order(page, Path("r.html"))
    accessible(page, Path("r.html"))
    assert page.run("document.querySelectorAll('b').length") == 0  # names are text
    assert page.run("document.querySelectorAll('svg[role=img]').length") == 2 + 1 + 6 + 3 + 1 + 3
    shades = "getComputedStyle(document.querySelector('.scroll')).backgroundAttachment"
    assert page.run(shades).startswith("local, local, scroll, scroll")  # where there is more to see
    page.look(900, "dark", "print")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(246, 247, 249)"
    found = json.loads(Path("r.json").read_text())
    assert [run["name"] for run in found["runs"]] == ["one <b>", "two", "three"]
    assert found["runs"][0]["gap"] == pytest.approx(0, abs=1e-6)
    assert found["runs"][2]["family_gap"] == pytest.approx(found["runs"][2]["gap"], abs=1e-6) != 0
    assert [(a["first"], a["second"], a["ok"]) for a in found["agreement"]] == [
        ("one <b>", "two", True)
    ]


def test_without_data_it_shows_what_the_runs_know(page: Page) -> None:
    write_run("run", losses=np.linspace(9, 8, 40), steps=80)
    assert twinplate("report", "run", "--out", "r.html") == 0
    in_order(page, Path("r.html"))
    accessible(page, Path("r.html"))
    text = page.run("document.body.innerText")
    assert "step 40 of 80" in text and text.count("Give --data DATA") == 3


@pytest.mark.parametrize(
    "config",
    [
        {"amplitude_scale": 0.3},
        {"covariance": "low-rank", "rank": 1},
        {"encoder": "mlp"},
        {"model": LinearGaussian(MODEL.loadings[:, :1], MODEL.intercept, MODEL.noise_scale)},
        {"losses": np.zeros(0)},
        {"losses": np.array([np.nan] * 30)},
    ],
    ids=["amplitude", "low-rank", "never missing", "one component", "no step", "no finite loss"],
)
@pytest.mark.parametrize("items", [1, 60])
def test_odd_runs_have_pages_too(page: Page, config: dict, items: int) -> None:
    x = data(num_items=60)
    x[5] = np.nan
    write_run("run", write_data("x.csv", x), **config)
    write_data("new.csv", x[:items])
    assert twinplate("report", "run", "--data", "new.csv", "--out", "r.html") == 0
    page.errors.clear()
    page.open(Path("r.html"))
    assert page.errors == [] and "nan" not in page.run("document.body.innerHTML").lower()


def test_sentences_say_what_is_good_and_what_would_help() -> None:
    table = write_data("x.csv", data(num_items=1500))
    flat = 9 + 0.001 * np.random.default_rng(0).normal(size=400)
    write_run("good", table, losses=flat, steps=400)
    write_run("diagonal", table, losses=np.linspace(20, 9, 80), guide="diagonal")
    write_run("sure", table, noisier(0.6), losses=flat, steps=400)
    runs = {name: reported(name, table) for name in ("good", "diagonal", "sure")}
    about = {
        name: {r.section: (r.tone, r.text) for r in remarks([run], [])}
        for name, run in runs.items()
    }
    tones = {section: tone for section, (tone, _) in about["good"].items()}
    assert tones == dict.fromkeys(("losses", "gaps", "predictions"), "same")
    assert about["diagonal"]["gaps"][0] == "difference"
    assert "auxiliary guide with covariance full" in about["diagonal"]["gaps"][1]
    assert about["diagonal"]["losses"][0] == "undecided"
    assert "--resume diagonal --steps 160" in about["diagonal"]["losses"][1]
    assert about["sure"]["predictions"][0] == "difference"
    first = headline(list(runs.values()))
    assert first.tone == "same" and first.text.startswith("The best of 3 runs is good:")
    assert headline([runs["diagonal"], runs["good"]]).text.startswith("The best of 2 runs is good:")
    twin = replace(runs["good"], name="twin")
    both = headline([runs["good"], twin]).text
    assert both.startswith("good and twin are as good as each other: log evidence")
    three = headline([runs["good"], runs["sure"], twin]).text
    assert three.startswith("The best of 3 runs are good and twin, as good as each other")


def test_a_course_is_not_good_where_the_gap_is_the_encoders_or_little_can_be_told() -> None:
    write_run("run", table := write_data("x.csv", data()))
    run = reported("run", table)
    poor = replace(run, gaps=replace(run.gaps, missed=run.gaps.missed + 0.5))
    noise = np.random.default_rng(0).normal(size=80)
    for found, course, tone, text in (
        (run, 0.1 * noise, "same", "has settled"),
        (poor, 0.1 * noise, "unknown", "cannot be told by 80 steps"),
        (poor, 0.001 * noise, "undecided", "no longer falls, but its encoder"),
        (run, np.linspace(1, 100, 80), "difference", "rises"),
        (run, np.array([5.0]), "unknown", "cannot be told by 1 step"),
    ):
        said = remarks([replace(found, missed=course)], [])
        losses = [remark for remark in said if remark.section == "losses"]
        assert [remark.tone for remark in losses] == [tone] and text in losses[0].text
        gap = next(remark.text for remark in said if remark.section == "gaps")
        assert ("more steps" in gap) == (found is poor and tone == "unknown")


def test_data_unlike_those_of_the_training_are_said_first() -> None:
    x = data()
    write_run("run", write_data("x.csv", x), losses=np.full(80, 6.0), guide="diagonal")
    for new, far in ((data(seed=1), False), (data(0.0, seed=2), False), (5 * x + 30, True)):
        run = reported("run", write_data("new.csv", new))
        said = remarks([run], [])
        assert any("not like those that run was trained on" in r.text for r in said) == far
        assert ("the data are not like those" in headline([run]).text) == far
        gap = next(r.text for r in said if r.section == "gaps")
        assert ("would not help" in gap) == far and "train for more steps" not in gap


def test_missing_entries_are_all_counted_in_words_for_readers() -> None:
    write_run("run", write_data("x.csv", data(missing=0.0)), encoder="mlp")
    x = data()
    run = reported("run", write_data("new.csv", x))
    text = next(remark.text for remark in remarks([run], []) if remark.section == "gaps")
    assert f"{np.isnan(x).sum()} entries of the data are missing" in text and "`" not in text


def test_the_command_makes_the_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by the command line itself: what it asks for is the configuration of the run."""
    write_run("run", table := write_data("x.csv", data()), guide="event", learned=("loadings",))
    run = reported("run", table)
    asked = {}
    monkeypatch.setattr(
        "twinplate.commands.fit_command.run_fit",
        lambda request, training, _: asked.update(r=request, t=training),
    )
    words = shlex.split(shlex.join(command_of(run)))
    assert twinplate(*words[1:]) == 0
    config, request = run.saved.program.config, asked["r"]
    assert asked["t"] == run.saved.training
    assert (request.guide, request.covariance, request.components) == ("event", "full", 2)
    assert (request.missing, request.wanted.id_column, request.backend) == ("mask", "id", "pyro")
    assert config.encoder == "experts"


def test_runs_on_other_data_are_not_compared() -> None:
    write_run("one", write_data("x.csv", data()))
    write_run("two", write_data("y.csv", data(seed=1)))
    runs = [reported(name, None) for name in ("one", "two")]
    assert "different data" in headline(runs).text
    both = [reported(name, write_data("z.csv", data(seed=2))) for name in ("one", "two")]
    assert "one and two are as good as each other" in headline(both).text
    assert any("of new items" in remark.text for remark in remarks(both, []))
    assert known_line(runs) == known_line(both) == []
    assert known_line(runs[:1]) == [("best known", 9.0)]


def test_the_header_has_the_sizes_of_the_data_and_each_run_its_own_bench() -> None:
    one = write_run("one", write_data("x.csv", data()))
    runs = [reported("one", write_data("new.csv", data(num_items=70)))]
    assert "70 items of 5 features · 1 run" in report_page(runs, "twinplate report one")
    two = replace(one, data={**one.data, "num_items": 90, "columns": ["other"]})
    runs = [reported("one", None), replace(reported("one", None), name="two", saved=two)]
    text = report_page(runs, "twinplate report one two")
    assert "90 to 400 items of 5 features" in text and "different features" in text
    assert "items 90<" in text and "items 400<" in text


def test_few_entries_do_not_say_whether_predictions_are_calibrated() -> None:
    """One entry in ten is outside by chance, so one that is in or out says nothing, and twenty little."""
    for z, verdict in (
        ([0.1], "too few to say"),
        ([9.0], "too few to say"),
        ([0.1] * 10 + [3.0], "too few to say"),
        ([9.0] * 10, "too sure"),
        ([0.1] * 900 + [3.0] * 100, "calibrated"),
    ):
        found = Calibration(np.array(z), np.arange(len(z)), "guide")
        assert found.verdict == verdict and found.coverage(0.9)[1] > 0
    x = data(num_items=1)
    write_run("run", write_data("x.csv", data()))
    said = remarks([reported("run", write_data("one.csv", x))], [])
    assert [remark.tone for remark in said if remark.section == "predictions"] == ["unknown"]
    alone = np.full((3, 5), np.nan)
    alone[:, 0] = 1.0
    assert not hide(alone, 0).any()  # there is no rest to predict from


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nowhere", "--out", "r.html"), "nowhere does not exist: expected a run directory"),
        (("run", "--out", "no/r.html"), "expected a file in a directory that exists"),
        (("run", "--out", "r.html", "--data", "other.csv"), "missing: height"),
        (
            ("run", "--out", "r.html", "--data", "narrow.npy"),
            "3 columns; the run run was fitted on 5",
        ),
        (
            ("run", "--out", "r.html", "--json", "no/r.json"),
            "expected a file in a directory that exists",
        ),
        (("run", "run", "--out", "r.html"), "run is given twice"),
        (("run", "./same/../run", "--out", "r.html"), "run is given twice"),
        (("run", "--out", "same", "--json", "same"), "--json and --out are both same"),
    ],
)
def test_bad_input_is_one_sentence(capsys: pytest.CaptureFixture[str], words, sentence) -> None:
    write_run("run")
    Path("other.csv").write_text("size,weight\n1,2\n3,4\n")
    np.save("narrow.npy", np.zeros((4, 3)))
    assert twinplate("--quiet", "report", *words) == 2
    assert (
        sentence in (text := said(capsys)) and text.startswith("twinplate: ") and "\n" not in text
    )
    assert not Path("r.html").exists() and not Path("same").exists()
