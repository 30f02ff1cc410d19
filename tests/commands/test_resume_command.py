"""`twinplate fit --resume`: a killed run goes on to the numbers of the run never killed."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from verify_files import twinplate

from twinplate.training.run_directory import read_newest, reopened

TENSORS = ("params.safetensors", "optimizer.safetensors", "fixed.safetensors", "losses.npy")
SMALL = ["--components", "2", "--batch-size", "8", "--device", "cpu"]


class Killed(BaseException):
    """Stands for kill -9 between two chunks of steps."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with data that have names, a constant and an index."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 4)) + 2
    rows = [f"{i},{','.join(map(str, row))},7" for i, row in enumerate(x)]
    Path("x.csv").write_text("\n".join(["id,p,q,r,s,flat", *rows]))
    Path("y.csv").write_text("\n".join(["id,p,q,r,s,flat", *rows[:-1]]))
    return tmp_path


@pytest.fixture
def killed_at(monkeypatch):
    """`killed_at(step)`: training ends without a word once this step is taken; None heals it."""

    def arm(at):
        @contextmanager
        def progress(*_):
            def told(done, losses):
                if done == at:
                    raise Killed

            yield told

        monkeypatch.setattr("twinplate.commands.training_run.training_progress", progress)

    return arm


def fit(run: str, *words: str) -> None:
    assert twinplate("fit", "x.csv", *SMALL, *words, "--out", run) == 0


def assert_same_run(one: str, other: str) -> None:
    for name in TENSORS:
        assert Path(one, name).read_bytes() == Path(other, name).read_bytes(), name


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_a_killed_run_goes_on_to_the_bit(folder, capsys, killed_at, backend):
    words = ["--steps", "350", "--backend", backend, "--checkpoint-every", "0"]
    fit("whole", *words)
    for at, kept, how in ((200, 100, "fit"), (300, 200, "resume"), (None, 350, "resume")):
        killed_at(at)
        given = (
            [*SMALL, *words, "--out"] if how == "fit" else ["--checkpoint-every", "0", "--resume"]
        )
        try:
            assert twinplate("fit", "x.csv", *given, "run") == 0
        except Killed:
            assert twinplate("posterior", "run", "x.csv", "--out", f"{at}.npz") == 0
            assert f"run is unfinished: this is step {kept} of 350" in capsys.readouterr().out
        assert read_newest(Path("run")).run.step == kept
    assert_same_run("run", "whole")
    assert sorted(p.name for p in Path("run").iterdir()) == sorted([*TENSORS, "run.json", ".lock"])
    one, other = (json.loads(Path(run, "run.json").read_text()) for run in ("run", "whole"))
    assert one == other


def test_killed_before_anything_was_reached(folder, killed_at, monkeypatch):
    """The directory holds the start from the first moment on."""
    fit("whole", "--steps", "5")
    monkeypatch.setattr("twinplate.training.run_directory.discard", lambda path: None)
    killed_at(5)
    with pytest.raises(Killed):
        fit("run", "--steps", "5")
    killed_at(None)
    assert read_newest(Path("run")).run.step == 0
    assert twinplate("fit", "x.csv", "--resume", "run") == 0
    assert_same_run("run", "whole")


def test_more_steps_and_the_other_framework(folder, capsys):
    fit("run", "--steps", "5", "--backend", "pyro")
    words = ["--steps", "8", "--backend", "numpyro"]
    assert twinplate("fit", "x.csv", "--resume", "run", *words) == 0
    assert "Going on with run after step 5 of 8" in capsys.readouterr().out
    run = read_newest(Path("run")).run
    assert run.step == len(run.losses) == run.training.steps == 8
    assert run.config["backend"] == "numpyro"


BAD = [
    ("x.csv --resume run", "run is finished, after 5 steps; give more by --steps"),
    ("x.csv --resume run --steps 4", "--steps is 4 but run was begun with 5"),
    ("y.csv --resume run --steps 6", "its 29 items and 4 features have another fingerprint"),
    (
        "x.csv --resume run --steps 6 --seed 1 --rank 3",
        "--rank, --seed cannot be given with --resume",
    ),
    ("x.csv --resume run --out other", "--out cannot be given"),
    ("x.csv --resume nowhere", "does not exist"),
    ("x.csv --resume .", "holds no run.json"),
    ("x.csv --resume run --steps 6 --checkpoint-every -1", "--checkpoint-every is -1"),
    ("x.csv --resume run --steps 6 --checkpoint-every nan", "--checkpoint-every is nan"),
    ("x.csv --components 2", "--out is missing"),
    (
        "x.csv --components 2 --out run",
        "run holds a run, which exists already: go on with it by --resume",
    ),
]


def test_what_cannot_be_resumed_is_said_and_nothing_is_changed(folder, capsys):
    fit("run", "--steps", "5")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.name != ".lock"}
    for words, told in BAD:
        capsys.readouterr()
        assert twinplate("fit", *words.split()) == 2, words
        printed = capsys.readouterr().err
        assert told in printed and len(printed.strip().splitlines()) == 1, printed
    with reopened(Path("run")):
        assert twinplate("fit", "x.csv", "--resume", "run", "--steps", "6") == 2
    assert "run is in use: another process is training this run" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.name != ".lock"} == before
