"""What all commands have in common: an example in their help, JSON alone on stdout, and --quiet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from verify_files import BOTH, file
from verify_files import twinplate as run

from twinplate.bench.backend import LIMIT_SIZES
from twinplate.bench.measure import Measured
from twinplate.cli import app
from twinplate.commands import bench_command

FIT = "fit x.csv --components 1 --steps 3 --batch-size 8 --device cpu --out"
# A user's file that prints.
SPEAKING = BOTH + 'print("the file speaks")\n'
WORDS = {
    "verify": "verify port.py",
    "record": "record port.py:CASE --out record",
    "compare": "compare first first",
    "convert": "convert port.py --to numpyro --params trained.npz --out there.safetensors",
    "bench": "bench --sizes S",
    "demo": "demo --out pictures",
    "fit": f"{FIT} new",
    "posterior": "posterior run x.csv --out posterior.npz",
    "impute": "impute run holes.csv --out filled.csv",
    "score": "score run x.csv",
    "summary": "summary run",
    "report": "report run --out report.html",
    "choose": "choose x.csv --components 1",
    "doctor": "doctor",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with data, a run, programs, a record of one, and parameters."""
    where = tmp_path_factory.mktemp("every")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        x = np.random.default_rng(0).normal(size=(12, 3)) @ np.eye(3).cumsum(axis=0)
        np.savetxt("x.csv", x, delimiter=",", header="p,q,r", comments="")
        Path("holes.csv").write_text("p,q,r\n1,2,3\n")
        np.savez("trained.npz", loc=0.4)
        file(SPEAKING)
        assert run(*f"{FIT} run".split()) == run(*["record", "port.py:CASE", "--out", "first"]) == 0
    return where


def test_every_command_is_asked() -> None:
    assert {command.callback.__name__ for command in app.registered_commands} == {*WORDS}


@pytest.mark.parametrize("command", sorted(WORDS))
def test_help_has_an_example(command, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert run(command, "--help") == 0
    told = capsys.readouterr().out
    assert f"twinplate {command} " in told.partition("Example:")[2]
    assert all(option in told for option in ("--json", "--quiet"))


@pytest.mark.parametrize("command", sorted(WORDS))
def test_json_stands_alone_on_stdout(command, folder, monkeypatch, capsys) -> None:
    def spoken(*given):
        print("a table")
        return {"fits": [float("nan")]}

    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        "twinplate.demo.run.run_demo", spoken
    )  # it takes minutes, and so does a benchmark
    rows = Measured("S", "cpu", [], {}, {})
    monkeypatch.setattr(bench_command, "_measured", lambda *given, **options: rows)
    monkeypatch.setitem(LIMIT_SIZES, "cpu", (64, 2**10))
    pyro.clear_param_store()
    with torch.random.fork_rng():
        assert run(*WORDS[command].split(), "--json", "-", "--quiet") == 0
    told = capsys.readouterr()
    found = json.loads(told.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(found, list if command == "bench" else dict)
    assert told.err or command == "bench"
    if command == "verify":
        assert "the file speaks" in told.err
    if command == "demo":
        assert found == {"fits": [None]}
    if command == "fit":
        assert found["run"] == "new" and found["steps"] == 3
        assert found["nats_per_item"]["log_evidence"] >= found["nats_per_item"]["elbo"]


def test_nothing_is_on_stdout_after_ctrl_c(folder, monkeypatch, capsys) -> None:
    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    monkeypatch.setattr("twinplate.commands.training_run.train", stopped)
    words = WORDS["fit"].replace("--out new", "--out stopped")  # the folder is that of all tests
    assert run(*words.split(), "--json", "-", "--quiet") == 130
    told = capsys.readouterr()
    assert told.out == "" and "interrupted, by Ctrl-C" in told.err


def test_nothing_is_on_stdout_after_bad_input(folder, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    assert run("score", "run", "nowhere.csv", "--json", "-") == 2
    assert capsys.readouterr().out == ""
    assert run("score", "run", "x.csv", "--json", "no/folder.json") == 2
    assert "folder.json cannot be written" in capsys.readouterr().err
