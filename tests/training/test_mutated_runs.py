"""A stranger's run directory is read or refused: no crash, no way out of it, no memory for a lie."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from mutated_runs import good_run, mutated, resealed, try_reading

from twinplate import InputError, load
from twinplate.training.run_directory import load_run, read_newest, reopened

GOOD = good_run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mutated") / "run"


@pytest.fixture
def run(tmp_path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    for name, content in GOOD.items():
        (path / name).write_bytes(content)
    return path


def check(folder: Path, chance) -> None:
    try_reading(mutated(GOOD, chance), folder)


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_files_are_read_or_refused(folder, chance):
    check(folder, chance)


@pytest.mark.slow
@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_mutated_files_are_read_or_refused(folder, chance):
    check(folder, chance)


def test_the_run_that_is_mutated_is_good(folder):
    assert try_reading(GOOD, folder) and try_reading(resealed(GOOD), folder)


HEADER = GOOD["run.json"].decode()
SAFETENSORS = GOOD["params.safetensors"]


LIES = [
    ("run.json", b"[" * 10**6, "run.json is damaged: it is not valid JSON"),
    ("run.json", b" " * 2**23 + HEADER.encode(), "8,388,608 are the most"),
    ("run.json", HEADER.replace('"step": 0', '"step": true').encode(), "'step' is missing"),
    ("run.json", HEADER.replace('"step": 0', f'"step": {"9" * 5000}').encode(), "valid JSON"),
    ("run.json", HEADER.replace('"a",', '"A",').encode(), "it was altered"),
    ("losses.npy", GOOD["losses.npy"].replace(b"(4,)", b"(10**12,)"), "one loss per step"),
    ("losses.npy", GOOD["losses.npy"].replace(b"(4,)", b"(((("), "one loss per step"),
    ("losses.npy", GOOD["losses.npy"].replace(b"(4,), }", b"(99999999,), }"), "as many losses"),
    ("params.safetensors", b"\xff" * 8 + SAFETENSORS, "not a readable safetensors file"),
    ("params.safetensors", SAFETENSORS.replace(b'"F32"', b'"I32"', 1), "other numbers"),
]


@pytest.mark.parametrize(("name", "content", "told"), LIES, ids=[told for *_, told in LIES])
def test_what_is_said_of_a_lie(run, name, content, told):
    assert content != GOOD[name]
    for other, good in ({} if name == "run.json" else resealed({**GOOD, name: content})).items():
        (run / other).write_bytes(good)
    (run / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(run)
    assert told in str(caught.value)


@pytest.mark.parametrize("missing", ["fingerprint", "num_items", "columns"])
def test_what_a_run_does_not_say_of_its_data_is_missed(run, missing):
    """By those who need it: to go on, to sum it up, to report on it."""
    said = load_run(run)
    said.check_told()
    left = {name: value for name, value in said.data.items() if name != missing}
    with pytest.raises(InputError, match=missing):
        replace(said, data=left).check_told()
    with pytest.raises(InputError):
        replace(said, config={}).check_told()


def test_nothing_leads_out_of_the_directory(run, tmp_path):
    """A link to a file, to a checkpoint or in the place of the lock, and a pipe that would never end."""
    secret = tmp_path / "secret"
    secret.write_bytes(GOOD["losses.npy"])
    (run / "losses.npy").unlink()
    (run / "losses.npy").symlink_to(secret)
    with pytest.raises(InputError, match=r"losses\.npy cannot be read: it is a link"):
        load(run)
    (run / "losses.npy").unlink()
    os.mkfifo(run / "losses.npy")
    with pytest.raises(InputError, match="a link, a directory or a device"):
        load(run)
    (run / "losses.npy").unlink()
    (run / "losses.npy").write_bytes(GOOD["losses.npy"])
    (run / "checkpoint-00000009").symlink_to(run, target_is_directory=True)
    found = read_newest(run)
    assert found.place == run and "checkpoint-00000009 is a link" in found.damage[0]
    (run / "checkpoint-00000009").unlink()
    (run / ".lock").symlink_to(secret)
    with pytest.raises(InputError, match="is a link"), reopened(run):
        pass
    assert secret.read_bytes() == GOOD["losses.npy"]


def test_nothing_is_written_through_a_link(run, tmp_path):
    """One that comes into the directory while it is held."""
    secret = tmp_path / "secret"
    secret.write_text("mine")
    with reopened(run) as writer:
        (run / "fixed.safetensors").unlink()
        (run / "fixed.safetensors").symlink_to(secret)
        with pytest.raises(InputError, match="cannot be kept"):
            writer.finish(writer.run)
    assert secret.read_text() == "mine"
    np.testing.assert_array_equal(load_run(run).losses, np.ones(4))
