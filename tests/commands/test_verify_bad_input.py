"""Bad files and bad words for `twinplate verify`, `record` and `compare`: one message, exit code 2."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from verify_files import BOTH, CASE, NUMPYRO, PYRO, file, twinplate

pytestmark = pytest.mark.usefixtures("own_folder")

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
        ["'zz', which is no site, parameter or module of the first program; it has loc, mu, n, x"],
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
    "no case": (PYRO, [r"port.py has no Case at its top level; expected NAME = Case\(...\) there"]),
    "empty": ("", ["port.py has no Case"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_message_and_exit_code_2(name, capsys) -> None:
    text, expected = BAD[name]
    assert twinplate("verify", file(text), "--quiet") == 2  # a slow machine would tell of progress
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
    monkeypatch.setattr("twinplate.commands.verify_command.verify", len)
    assert twinplate("verify", file(BOTH)) == 2
    assert "Traceback" in capsys.readouterr().err
