"""`twinplate verify`, `record` and `compare` from the outside: verdicts, exit codes, files, bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from scipy import stats
from test_absent_framework import JAX_SIDE, REFUSE, TORCH_SIDE
from verify_files import BOTH, CASE, NUMPYRO, PYRO, WRONG, X, twinplate

from twinplate import Record
from twinplate.compare import VERDICTS
from twinplate.verify_commands import EXIT_CODES, exit_code


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, left without a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def file(text: str, name: str = "port.py") -> str:
    Path(name).write_text(text)
    return name


def negative_elbo(mu: float, loc: float, scale: float = 0.5) -> float:
    densities = stats.norm.logpdf(X, mu, scale).sum() + stats.norm.logpdf(mu)
    return stats.norm.logpdf(mu, loc) - densities


# -- verify -------------------------------------------------------------------------------------------


def test_a_port_is_verified(capsys) -> None:
    assert twinplate("verify", file(BOTH)) == 0
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
    monkeypatch.setattr("rich.status.Status.update", lambda self, text: told.append(text))
    twinplate("verify", file(BOTH))
    assert told[0] == "CASE: first program, sampling"
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


# -- HTML ---------------------------------------------------------------------------------------------


class Balanced(HTMLParser):
    """Checks that every element is closed and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and not value.startswith("#"):
                self.outside.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_shows_names_as_they_are() -> None:
    nasty = WRONG.replace('"x"', '"<script>&x"')
    assert twinplate("verify", file(nasty), "--html", "r.html") == 1
    text = Path("r.html").read_text()
    parser = Balanced()
    parser.feed(text)
    assert (parser.open, parser.outside) == ([], [])
    assert len(set(parser.ids)) == len(parser.ids) == 5
    assert "<script" not in text and "&lt;script&gt;&amp;x" in text
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(parser.ids)
    assert not re.search(r"url\(|@import|http", text)


def test_sites_of_one_program_of_other_shapes_and_without_values_are_shown() -> None:
    odd = BOTH.replace(
        "def pyro_guide",
        """    pyro.sample("alone", pdist.Normal(mu, 1.0), obs=torch.tensor(2.5))
    pyro.factor("f", mu)
    pyro.deterministic("d", mu * torch.ones(12))

def pyro_guide""",
    ).replace(
        "def numpyro_guide",
        """    numpyro.factor("f", mu)
    numpyro.deterministic("d", mu * np.ones(13))

def numpyro_guide""",
    )
    assert twinplate("verify", file(odd), "--html", "r.html", "--json", "r.json") == 1
    text = Path("r.html").read_text()
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    rows = dict(re.findall(r'class="name">(\w+)<.*?class="mark">(.*?)</span>', text, re.DOTALL))
    assert rows["alone"] == rows["d"] == "✗ differs"
    assert rows["f"] == rows["x"] == "✓"
    assert "<td>[0]</td><td>2.5</td><td>–</td>" in text
    assert "value <small>5 of 12 numbers</small>" in text


def test_the_numbers_on_demand_point_at_the_worst() -> None:
    twinplate("verify", file(WRONG), "--html", "r.html")
    text = Path("r.html").read_text()
    shown = text[text.index('class="name">x<') :]
    rows = re.findall(
        r"<tr( class=worst)?><td>\[0, (\d)\].*?</td><td>(.*?)</td><td>(.*?)</td>", shown
    )
    apart = [abs(float(a) - float(b)) for _, _, a, b in rows[:3]]
    assert [bool(worst) for worst, *_ in rows[:3]] == [v == max(apart) for v in apart]


def test_the_numbers_on_demand_hold_the_arguments_that_differ() -> None:
    twinplate("verify", file(WRONG), "--html", "r.html")
    text = Path("r.html").read_text()
    assert re.findall(r"<h3>(loc|scale) ", text) == ["scale"]
    row = r"<td>\[0, 0\] worst</td><td>0\.5</td><td>0\.25</td><td>-2\.50e-01</td>"
    assert len(re.findall(row, text)) == 1


def test_nothing_is_compared_with_a_program_that_stopped() -> None:
    """It may have stopped on draws of its own: their distance from the other program's says nothing."""
    stopping = BOTH.replace("ndist.Normal(mu, 0.5)", "ndist.Normal(mu * np.ones((2, 4)), 0.5)")
    assert twinplate("verify", file(stopping), "--html", "r.html") == 2
    text = Path("r.html").read_text()
    assert "nothing is compared" in text
    assert "second − first" not in text and "worst</td>" not in text


# -- records ------------------------------------------------------------------------------------------


def test_records_say_what_verify_says(capsys) -> None:
    assert twinplate("record", file(PYRO, "a.py"), "-o", "a") == 0
    for text, expected in ((NUMPYRO, 0), (NUMPYRO.replace("0.5", "0.25"), 1)):
        name = file(text, f"b{expected}.py")
        out = f"b{expected}"
        assert twinplate("record", f"{name}:SECOND", "-o", out, "--like", "a") == 0
        assert twinplate("compare", "a", out, "--json", "r.json") == expected
        (report,) = json.loads(Path("r.json").read_text()).values()
        assert report["verdict"] == ("differs" if expected else "same")
    assert "Recorded 5 runs of a pyro program in a" in capsys.readouterr().out


def test_a_case_is_recorded_one_program_after_the_other() -> None:
    file(WRONG)
    assert twinplate("record", "port.py:CASE", "-o", "a") == 0
    assert twinplate("record", "port.py:CASE", "-o", "b", "--like", "a") == 0
    assert (Record.load("a").framework, Record.load("b").framework) == ("pyro", "numpyro")
    assert twinplate("compare", "a", "b") == 1


SAVE = """
import sys
from pathlib import Path
from verify_files import twinplate
for out, text in {files!r}.items():
    Path("own.py").write_text(text)
    assert twinplate("record", "own.py", "-o", out, *{like!r}) == 0
assert not set({absent!r}) & {{name.split(".")[0] for name in sys.modules}}
"""
COMPARE = """
import sys
from verify_files import twinplate
assert twinplate("compare", "first", "same") == 0
assert twinplate("compare", "first", "wrong") == 1
assert not set({absent!r}) & {{name.split(".")[0] for name in sys.modules}}
"""


def fresh(*parts: str, **values) -> str:
    """What a fresh interpreter prints, in the working directory."""
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(part.format(**values) for part in parts)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("order", ["pyro first", "numpyro first"])
def test_each_framework_records_without_the_other_and_compares_without_its_own(order) -> None:
    sides = [(PYRO, JAX_SIDE), (NUMPYRO, TORCH_SIDE)]
    (text, absent), (other, other_absent) = sides if order == "pyro first" else sides[::-1]
    fresh(REFUSE, SAVE, files={"first": text}, absent=absent, like=())
    wrong = other.replace("Normal(mu, 0.5)", "Normal(mu, 0.6)")
    files = {"same": other, "wrong": wrong}
    fresh(REFUSE, SAVE, files=files, absent=other_absent, like=("--like", "first"))
    for blocked in (other_absent, TORCH_SIDE + JAX_SIDE):
        shown = fresh(REFUSE, COMPARE, absent=blocked)
        assert re.search("^SAME.*^DIFFERS: log density of model site x", shown, re.S | re.M)


# -- bad input ----------------------------------------------------------------------------------------

NO_SITES = """
def nothing(x):
    pass
FIRST, SECOND = PyroProgram(nothing), NumpyroProgram(nothing)
"""
BUILD = """
def make():
    weights = {{}}
    return weights["encoder"]
{} = {}Program.build(make)
"""
NO_VALIDATION = ("Normal(mu, 0.5)", "Normal(mu, 0.5, validate_args=False)")
# What the file holds -> what is said: a message on stderr, or the headline of a report
BAD = {
    "builder, second": (
        PYRO + NUMPYRO + BUILD.format("SECOND", "Numpyro") + CASE,
        [r"COULD NOT RUN", "second program stops in its build: KeyError: 'encoder'", "in make"],
    ),
    "builder, first": (
        PYRO + NUMPYRO + BUILD.format("FIRST", "Pyro") + CASE,
        [r"COULD NOT RUN", "first program stops in its build: KeyError: 'encoder'", "in make"],
    ),
    "missing arguments": (
        BOTH.replace("args=(X,)", "args=()"),
        [r"COULD NOT RUN", r"pyro_guide\(\) missing 1 required\s+positional argument: 'x'"],
    ),
    "NaN data": (
        BOTH.replace("0.3, -1.2", "0.3, np.nan"),
        [r"COULD NOT RUN", "model site x", "found invalid values"],
    ),
    "NaN densities": (
        BOTH.replace("0.3, -1.2, 0.8", "np.nan, np.nan, np.nan").replace(*NO_VALIDATION),
        [r"COULD NOT RUN", r"model site x: is not a number \(NaN\) in both programs \(3 of\s+3"],
    ),
    "NaN in one density": (
        BOTH.replace("-1.2, 0.8", "-1.2, np.nan").replace(*NO_VALIDATION),
        [r"COULD NOT RUN", r"model site x: is not a number \(NaN\) in both programs \(1 of\s+3"],
    ),
    "error in the model": (
        BOTH.replace("    mu = numpyro", "    x[5, 5]\n    mu = numpyro"),
        [
            r"COULD NOT RUN",
            "second program stops in its model",
            r"in\s+numpyro_model",
            r"x\[5, 5\]",
        ],
    ),
    "no sites": (PYRO + NUMPYRO + NO_SITES + CASE, ["model has no sites"]),
    "rename, first": (
        BOTH.replace("stress=", "rename={'zz': 'mu'}, stress="),
        ["'zz', which is no site and no parameter of the first program; it has loc, mu, n, x"],
    ),
    "rename, second": (
        BOTH.replace("stress=", "rename={'mu': 'zz'}, stress="),
        ["'mu' is 'zz' in the second program, which has no such"],
    ),
    "rename, parameter": (
        BOTH.replace("stress=", "rename={'loc': 'zz'}, stress="),
        ["'loc' is 'zz' in the second program, which has no such"],
    ),
    "unknown params": (
        BOTH.replace("stress=", "params={'zz': 1.0}, stress="),
        ["params names zz, which the program does not have; its parameters are loc"],
    ),
    "no seeds": (BOTH.replace("seeds=(0,)", "seeds=()"), ["seeds is empty"]),
    "error in the file": (
        BOTH + "\ndef f():\n    return 1 / 0\n\nf()\n",
        [r"port.py cannot be run", r"in f\s+return 1 / 0", "ZeroDivisionError: division by zero"],
    ),
    "error of a framework": (
        BOTH + "\ntorch.zeros(2) @ torch.zeros(3)\n",
        [r"port.py cannot be run", r"torch.zeros\(2\) @ torch.zeros\(3\)", "RuntimeError"],
    ),
    "syntax": (BOTH + "\ndef (\n", ["port.py cannot be run", "SyntaxError"]),
    "import": (BOTH + "\nimport no_such\n", ["cannot be run", "import no_such", "No module named"]),
    "exit": (BOTH + "\nraise SystemExit(0)\n", ["cannot be run", "SystemExit: 0"]),
    "no case": (PYRO, ["port.py has no Case; it has no Case at its top level"]),
    "empty": ("", ["port.py has no Case"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_message_and_exit_code_2(name, capsys) -> None:
    text, expected = BAD[name]
    assert twinplate("verify", file(text)) == 2
    printed = capsys.readouterr()
    said = printed.err or printed.out
    for part in expected:
        assert re.search(part, said), said
    assert printed.err == "" or printed.err.startswith("twinplate: ")
    for not_the_users in ("site-packages", "twinplate/twinplate", "_impl/", "<frozen"):
        assert not_the_users not in said
    assert "Traceback" not in said


WORDS = {
    "verify": "Missing argument",
    "verify nothing.py": "nothing.py does not exist",
    "verify notes.txt": "no Python file",
    "verify port.py:NOPE": "has no Case called NOPE; it has CASE",
    "verify port.py:X": "X in port.py is of type ndarray; expected a Case",
    "verify port.py --loss ELBO": "expected one of Trace_ELBO",
    "verify port.py --seeds one": "--seeds is 'one'; expected whole numbers",
    "verify port.py --html no/where.html": "cannot be written",
    "verify port.py --json .": "cannot be written",
    "record port.py -o new": "has several programs; name one of FIRST, SECOND, CASE",
    "record port.py:NOPE -o new": "no Program or Case called NOPE",
    "record port.py:FIRST": "Missing option",
    "record port.py:FIRST -o port.py": "exists already",
    "record port.py:FIRST -o new --like port.py": "is no record",
    "record port.py:FIRST -o new --like zz": "does not exist",
    "record port.py:SECOND -o new --like good --seeds 3": "leave them out",
    "record stops.py:FIRST -o new": "the program stops in its model",
    "record other.py:SECOND -o new --like good": "is 'zz' in the second program",
    "compare good": "Missing argument",
    "compare good nothing": "nothing does not exist",
    "compare good port.py": "is no record",
    "compare good cut": "truncated",
    "compare good unlike": "other draws",
    "compare good seeds": "other settings",
    "compare good inputs": "other inputs",
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files for the bad words, recorded once."""
    shelf = tmp_path_factory.mktemp("shelf")
    where = Path.cwd()
    os.chdir(shelf)
    file(BOTH)
    file("hello", "notes.txt")
    file(PYRO.replace("    mu =", "    x / y\n    mu ="), "stops.py")
    file(NUMPYRO + "\nRENAME = {'mu': 'zz'}\n", "other.py")
    file(PYRO.replace("0.3, ", "0.4, "), "inputs.py")
    file(PYRO + "\nPARAMS = {'loc': 3.0}\n", "unlike.py")
    for words in (
        "port.py:FIRST -o good",
        "port.py:FIRST --seeds 7 -o seeds",
        "inputs.py -o inputs",
        "unlike.py -o unlike",
    ):
        assert twinplate("record", *words.split()) == 0
    content = Path("good").read_bytes()
    Path("cut").write_bytes(content[: len(content) // 2])
    os.chdir(where)
    return shelf


@pytest.mark.parametrize("words", WORDS)
def test_bad_words_are_one_clear_message_and_exit_code_2(words, shelf, monkeypatch, capsys) -> None:
    monkeypatch.chdir(shelf)
    assert twinplate(*words.split()) == 2
    said = re.sub(r"[│\s]+", " ", capsys.readouterr().err)
    assert WORDS[words] in said
    assert "Traceback" not in said
    assert not Path("new").exists()


def test_a_mistake_of_our_own_is_not_a_verdict(monkeypatch, capsys) -> None:
    monkeypatch.setattr("twinplate.verify_commands.verify", len)
    assert twinplate("verify", file(BOTH)) == 2
    assert "Traceback" in capsys.readouterr().err
