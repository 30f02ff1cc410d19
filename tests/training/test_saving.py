"""A fit made in Python is saved as the command line saves one."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
from verify_files import twinplate as run

from twinplate import Fit, InputError, ProgramConfig, TrainingConfig, load, make_program, save
from twinplate.backends import load_backend

TRAINING = TrainingConfig(steps=6, batch_size=64, device="cpu")


@pytest.fixture
def frame(own_folder):
    x = np.random.default_rng(0).normal(size=(20, 3)) @ np.eye(3).cumsum(axis=0)
    frame = pandas.DataFrame(x, columns=["a/b", "q", "r"])
    frame.to_csv("x.csv", index=False)
    return frame


def fitted(frame, backend) -> Fit:
    program = make_program(frame, ProgramConfig(3, 2))
    return load_backend(backend).fit(frame, program, TRAINING.for_items(len(frame)))


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_it_is_the_run_of_the_command_line(frame, backend, capsys) -> None:
    words = "fit x.csv --components 2 --steps 6 --batch-size 64 --device cpu --out theirs --backend"
    assert run(*words.split(), backend) == 0
    save(fitted(frame, backend), "ours", frame, TRAINING, backend=backend)
    headers = [json.loads(Path(name, "run.json").read_text()) for name in ("ours", "theirs")]
    assert headers[0] == headers[1]  # with the checksums of all files
    assert run("fit", "x.csv", "--resume", "ours", "--steps", "8") == 0
    assert "Going on with ours after step 6 of 8" in capsys.readouterr().out
    assert load("ours").state.step == 8 and load("ours").features == ("a/b", "q", "r")


def test_what_cannot_be_saved_leaves_nothing(frame) -> None:
    fit = fitted(frame, "numpyro")
    for bad, words in (
        (lambda: save(fit, "run", frame, TRAINING, backend="jax"), "backend is 'jax'"),
        (lambda: save(fit, "run", np.ones((4, 2)), TRAINING, backend="pyro"), r"\(4, 2\); expected"),
        (lambda: save(Fit(fit.state, fit.losses), "run", frame, TRAINING, backend="pyro"), "program"),
        (
            lambda: save(Fit(fit.state, fit.losses[3:], program=fit.program), "run", frame, TRAINING,
                         backend="pyro"),
            "has 3 losses of 6 steps",
        ),
        (lambda: save(fit, "x.csv", frame, TRAINING, backend="pyro"), "exists already"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            bad()
    assert {path.name for path in Path().iterdir()} == {"x.csv"}


@pytest.mark.parametrize("named", [True, False])
def test_given_offsets_are_found_again_by_the_commands(own_folder, named, capsys) -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 4, 20).round(3)
    x = rng.poisson(depth[:, None] * [2.0, 3.0, 4.0]).astype(float)
    frame = pandas.DataFrame(np.column_stack([depth, x]), columns=["tot", "a", "b", "c"])
    column, file = ("tot", "x.csv") if named else ("column 1", "x.npy")
    frame.to_csv("x.csv", index=False)
    np.save("x.npy", frame.to_numpy())
    words = f"fit {file} --components 2 --steps 6 --batch-size 64 --device cpu --out theirs".split()
    words += ["--likelihood", "poisson", "--backend", "pyro", "--offset", column]
    assert run(*words) == 0
    given = frame[["a", "b", "c"]] if named else x
    program = make_program(given, ProgramConfig(3, 2, likelihood="poisson"), offsets=depth)
    fit = load_backend("pyro").fit(given, program, TRAINING.for_items(20), offsets=depth)
    keep = partial(save, fit, "ours", given, TRAINING, backend="pyro")
    for bad, message in (
        ({"offsets": depth}, "expected its name, such as"),
        ({"offset_column": column}, "expected `offsets`"),
        ({"offsets": depth[1:], "offset_column": column}, r"expected \(20,\)"),
    ):
        with pytest.raises(InputError, match=message):
            keep(**bad)
    keep(offsets=depth, offset_column=column)
    headers = [json.loads(Path(name, "run.json").read_text()) for name in ("ours", "theirs")]
    assert headers[0] == headers[1]
    assert run("score", "ours", file) == 0
    assert run("fit", file, "--resume", "ours", "--steps", "8") == 0
