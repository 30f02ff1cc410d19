"""`twinplate verify` from the outside: verdicts, exit codes, files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scipy import stats
from verify_files import BOTH, PYRO, WRONG, X, file, twinplate

from twinplate import Record
from twinplate.commands.verify_command import EXIT_CODES, exit_code
from twinplate.verification.comparison.outcome import VERDICTS

pytestmark = pytest.mark.usefixtures("own_folder")


def negative_elbo(mu: float, loc: float, scale: float = 0.5) -> float:
    densities = stats.norm.logpdf(X, mu, scale).sum() + stats.norm.logpdf(mu)
    return stats.norm.logpdf(mu, loc) - densities


def test_a_port_is_verified(capsys) -> None:
    assert twinplate("verify", file(BOTH), "--quiet") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("SAME at the tested inputs, parameters and draws")
    assert re.search(r"│ x +│ observed +│ 3 \| +n\(-1\) +│ 3 \| +n\(-1\) +│ ✓", printed.out)
    assert "device" not in printed.out
    assert printed.err == ""


def test_a_mistake_is_named_and_both_files_are_written(capsys) -> None:
    assert twinplate("verify", file(WRONG), "--json", "r.json", "--html", "r.html") == 1
    shown = capsys.readouterr().out
    assert re.match(r"DIFFERS: log density of model site x: differs \(3 of 3 numbers", shown)
    (report,) = json.loads(Path("r.json").read_text()).values()
    assert report["verdict"] == "differs"
    first = report["findings"][0]
    assert (first["stage"], first["program"], first["site"]) == ("density", "model", "x")
    assert report["first"]["versions"]["pyro"] and report["second"]["versions"]["jax"]
    rows = {(row["program"], row["name"]): row for row in report["rows"]}
    assert rows["model", "x"]["first"] == {"shape": "3 |", "detail": "n(-1)"}
    assert {place: row["level"] for place, row in rows.items()} == {
        ("model", "mu"): "same",
        ("model", "x"): "difference",
        ("guide", "mu"): "same",
        ("loss", "loc"): "difference",
        ("loss", ""): "difference",
    }
    assert "Log density of model site x" in Path("r.html").read_text()


def test_the_shown_loss_is_the_closed_form(capsys) -> None:
    twinplate("record", file(PYRO), "-o", "r")
    record = Record.load("r")
    given = record.given["0"]
    mu, loc = float(given.draws["mu"][0]), float(given.parameters["loc"])
    assert record.runs["0", "float64"].loss == pytest.approx([negative_elbo(mu, loc)], rel=1e-12)
    twinplate("verify", file(WRONG), "--json", "r.json")
    (report,) = json.loads(Path("r.json").read_text()).values()
    shown = report["rows"][-1]
    assert float(shown["first"]["shape"]) == pytest.approx(negative_elbo(mu, loc), rel=1e-8)
    assert float(shown["second"]["shape"]) == pytest.approx(negative_elbo(mu, loc, 0.25), rel=1e-8)


@pytest.mark.parametrize("which", ["pyro", "numpyro"])
def test_where_a_program_stops_nothing_is_called_the_same(which) -> None:
    stops = BOTH.replace(f"        {which}.sample", f"        x[:2] + x\n        {which}.sample")
    assert twinplate("verify", file(stops), "--json", "r.json") == 2
    (report,) = json.loads(Path("r.json").read_text()).values()
    (finding,) = report["findings"]
    assert (finding["stage"], finding["level"]) == ("execution", "difference")
    assert "x[:2] + x" in finding["first" if which == "pyro" else "second"]
    assert {row["level"] for row in report["rows"]} <= {"unknown", "execution"}


def test_progress_names_the_program_at_work(monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("twinplate.progress._Lines.__call__", lambda self, text: told.append(text))
    twinplate("verify", file(BOTH))
    assert told[0] == "CASE: first program, looking for sites"
    assert told[-1] == "CASE: second program, draw 0, perturbed2"


def test_all_cases_of_a_file_or_the_named_one(capsys) -> None:
    other = "\nOTHER = Case(FIRST, FIRST, args=(X,), seeds=(0,), stress=False)\n"
    file(WRONG + other)
    assert twinplate("verify", "port.py:OTHER") == 0
    assert "DIFFERS" not in capsys.readouterr().out
    assert twinplate("verify", "port.py", "--html", "r.html") == 1
    shown = capsys.readouterr().out
    assert "─ CASE ─" in shown and "─ OTHER ─" in shown
    assert Path("r.html").read_text().count("<article>") == 2


def test_options_replace_what_the_case_says() -> None:
    words = ("--seeds", "4,5", "--loss", "TraceMeanField_ELBO", "--json", "r.json")
    assert twinplate("verify", file(BOTH), *words) == 0
    (report,) = json.loads(Path("r.json").read_text()).values()
    assert report["settings"]["seeds"] == [4, 5]
    assert report["settings"]["loss"] == "TraceMeanField_ELBO"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["same"], 0),
        (["differs"], 1),
        (["could not run"], 2),
        (["undecided"], 3),
        (["same", "undecided"], 3),
        (["undecided", "differs", "same"], 1),
        (["differs", "could not run", "undecided"], 2),
    ],
)
def test_the_exit_code_is_the_worst(verdicts, expected) -> None:
    class Report:
        def __init__(self, verdict: str) -> None:
            self.verdict = verdict

    assert exit_code(map(Report, verdicts)) == expected
    assert set(EXIT_CODES) == set(VERDICTS)
