"""Checkpoints outlive whatever ends a process: any of its writes, kill -9, a full disk, damaged files."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinplate.errors import InputError
from twinplate.training import run_format
from twinplate.training.loading import load
from twinplate.training.run_directory import begun, load_run, read_newest, reopened
from twinplate.training.run_format import SavedRun

OPERATIONS = ("fsync", "mkdir", "replace", "rmdir", "unlink")  # of `os`, beside writing a file


def run_of(step: int) -> SavedRun:
    """All of it is a function of the step."""
    rng = np.random.default_rng(step)
    params, last, mean, variance = ({"a": rng.normal(size=3), "b": rng.normal()} for _ in range(4))
    config, losses = {"training": {"steps": 100}}, np.arange(step) / 7
    groups = ({n: np.asarray(v) for n, v in g.items()} for g in (params, last, mean, variance))
    return SavedRun(config, {"columns": ["ü"]}, {}, *groups, {}, losses, step)


def assert_holds(run: SavedRun, step: int) -> None:
    expected = run_of(step)
    assert run.step == step and run.config == expected.config and run.data == expected.data
    np.testing.assert_array_equal(run.losses, expected.losses)
    for group in ("params", "last", "mean", "variance"):
        for name, values in getattr(expected, group).items():
            np.testing.assert_array_equal(getattr(run, group)[name], values)


def life(path: Path, reached: list[int]) -> None:
    """A run from its start to its end, and on; `reached` is told what was kept."""
    with begun(path, run_of(0)) as writer:
        reached.append(0)
        for step in (1, 2):
            writer.checkpoint(run_of(step))
            reached.append(step)
        writer.finish(run_of(3))
        reached.append(3)
    with reopened(path) as writer:
        writer.checkpoint(run_of(4))
        reached.append(4)
        writer.finish(run_of(5))
        reached.append(5)


class Died(BaseException):
    """The process is gone: nothing of it writes any more."""


class Disk:
    """The file system, in which operation `fails` goes wrong.

    half: of a file that is written then, whether one half comes on the disk.
    error: what is raised; after Died all later operations raise it too.
    """

    def __init__(self, monkeypatch, fails=-1, half=False, error=None) -> None:
        self.fails, self.half, self.error, self.dead = fails, half, error, False
        self.names: list[str] = []  # of the operations so far
        monkeypatch.setattr(run_format, "write_durably", self.around("write", self.write))
        for name in OPERATIONS:
            # fsync is left out: nothing here loses power
            real = (lambda *_: None) if name == "fsync" else getattr(os, name)
            monkeypatch.setattr(os, name, self.around(name, real))

    @staticmethod
    def write(path, content):
        path.write_bytes(content)

    def around(self, name, real):
        def operation(*args, **kwargs):
            if self.dead:
                raise Died
            self.names.append(name)
            if len(self.names) - 1 != self.fails:
                return real(*args, **kwargs)
            if self.half and name == "write":
                path, content = args
                path.write_bytes(content[: len(content) // 2])
            self.dead = self.error is Died
            raise self.error

        return operation


def operations(tmp_path, monkeypatch) -> list[str]:
    """Those of a whole life."""
    with monkeypatch.context() as patched:
        disk = Disk(patched)
        life(tmp_path / "counted", [])
    return disk.names


@pytest.mark.parametrize("half", [False, True])
def test_death_in_any_operation_loses_nothing_that_was_kept(tmp_path, monkeypatch, half):
    """Before each of them, and in the middle of each file."""
    names = operations(tmp_path, monkeypatch)
    assert len(names) > 100 and {*names} == {*OPERATIONS, "write"}
    for fails in [i for i, name in enumerate(names) if name == "write" or not half]:
        path, reached = tmp_path / f"run{fails}", []
        with monkeypatch.context() as patched:
            Disk(patched, fails, half, Died)
            with pytest.raises(Died):
                life(path, reached)
        if not reached and not path.exists():  # before it was there
            continue
        found = load_run(path)  # and warns of nothing: whatever is half-written has no name
        assert_holds(found, found.step)
        assert found.step in ((reached[-1], reached[-1] + 1) if reached else (0,))
        with reopened(path) as writer:
            assert_holds(writer.run, found.step)
            writer.finish(run_of(7))
        assert_holds(load_run(path), 7)
        left = {p.name for p in path.iterdir()}
        assert left == {"run.json", ".lock", "losses.npy", *run_format.TENSOR_FILES}


def test_a_run_that_cannot_start_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="no such device"), begun(tmp_path / "run", run_of(0)):
        raise InputError("no such device")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_what_was_kept_stays(tmp_path, monkeypatch):
    for fails in range(len(operations(tmp_path, monkeypatch))):
        path, reached, said = tmp_path / f"run{fails}", [], ""
        with monkeypatch.context() as patched:
            Disk(patched, fails, True, OSError(28, "No space left on device"))
            try:
                life(path, reached)
            except InputError as error:
                said = str(error)
        if said:
            assert "No space left on device" in said
        else:  # what could not be removed is still there, and does no harm
            assert reached[-1] == 5
        if path.exists():
            found = load_run(path)
            assert_holds(found, found.step)
            assert found.step >= (reached or [0])[-1]
            with reopened(path) as writer:
                writer.finish(run_of(7))
            assert_holds(load_run(path), 7)


# ------------------------------------------------------------------------- damage on the disk


@pytest.fixture
def two(tmp_path):
    """A killed run of two checkpoints, of steps 1 and 2."""
    path = tmp_path / "run"
    with begun(path, run_of(0)) as writer:
        writer.checkpoint(run_of(1))
        writer.checkpoint(run_of(2))
    assert [p.name for p in sorted(path.iterdir())][1:] == [
        "checkpoint-00000002",
        "checkpoint-00000003",
    ]
    return path


def assert_previous(path: Path, name: str) -> None:
    """That before the damaged one is read, said so, and the run goes on from there."""
    with pytest.warns(UserWarning, match=r"checkpoint-00000002, of step 1, is read") as told:
        assert_holds(load_run(path), 1)
    assert "checkpoint-00000003" in str(told[0].message) and name in str(told[0].message)


def damaged(path: Path, random_: random.Random, most: int) -> list[tuple[str, bytes]]:
    """Files of the last checkpoint truncated, or with one bit flipped."""
    files = {p.name: p.read_bytes() for p in (path / "checkpoint-00000003").iterdir()}
    size = len(files["run.json"].rstrip())  # without its last newline it is whole
    cut = [
        (name, content[:n]) for name, content in files.items() for n in range(len(content))
        if name != "run.json" or n < size
    ]  # fmt: skip
    bits = [(name, i) for name, content in files.items() for i in range(8 * len(content))]
    flipped = []
    for name, i in bits if most > len(bits) else random_.sample(bits, most):
        content = bytearray(files[name])
        content[i // 8] ^= 1 << i % 8
        flipped.append((name, bytes(content)))
    return (cut if most > len(cut) else random_.sample(cut, most)) + flipped


@pytest.mark.parametrize("most", [100, pytest.param(10**9, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_never_read(two, most):
    """Truncated at any byte, any one bit flipped; in a JSON text a flip may mean the same."""
    tried = damaged(two, random.Random(0), most)
    assert len(tried) >= 200
    for name, content in tried:
        place = two / "checkpoint-00000003" / name
        whole = place.read_bytes()
        place.write_bytes(content)
        found = read_newest(two)
        assert_holds(found.run, found.run.step)
        if name != "run.json" or found.run.step != 2:
            assert found.run.step == 1 and len(found.damage) == 1
        place.write_bytes(whole)


def test_a_run_goes_on_beside_a_damaged_checkpoint(two):
    (two / "checkpoint-00000003" / "losses.npy").write_bytes(b"")
    assert_previous(two, "losses.npy")
    with reopened(two) as writer:
        assert "losses.npy is damaged" in writer.damage[0]
        writer.checkpoint(run_of(2))
    # The damaged one makes room, the one that was read stays.
    assert {p.name for p in two.iterdir()} == {
        ".lock",
        "checkpoint-00000002",
        "checkpoint-00000004",
    }
    assert_holds(load_run(two), 2)
    for checkpoint in ("checkpoint-00000002", "checkpoint-00000004"):
        (two / checkpoint / "run.json").unlink()
    with pytest.raises(InputError, match="checkpoint-00000004"):
        load_run(two)


def test_checkpoints_are_counted_beyond_eight_digits(two):
    (two / "checkpoint-00000003").rename(two / "checkpoint-99999999")
    with reopened(two) as writer:
        writer.checkpoint(run_of(3))
    assert_holds(load_run(two), 3)
    assert (two / "checkpoint-100000000").is_dir() and (two / "checkpoint-99999999").is_dir()


def test_a_finished_run_that_is_damaged_is_refused(two):
    with reopened(two) as writer:
        writer.finish(run_of(100))
    (two / "losses.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"losses\.npy is damaged"):
        load(two)


def test_a_directory_that_cannot_be_written_is_read_and_not_resumed(two):
    """Of a root user nothing is kept by permissions, so the lock stands for them."""
    (two / ".lock").unlink()
    (two / ".lock").mkdir()
    before = sorted((p, p.stat().st_mtime_ns) for p in two.rglob("*"))
    assert_holds(load_run(two), 2)
    with pytest.raises(InputError, match="cannot be written"), reopened(two):
        pass
    assert sorted((p, p.stat().st_mtime_ns) for p in two.rglob("*")) == before


# ------------------------------------------------------------------------- processes and signals

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoints import run_of
from twinplate.training.run_directory import begun, reopened
path = Path(sys.argv[2])
with reopened(path) if path.exists() else begun(path, run_of(0)) as writer:
    print(writer.run.step, flush=True)
    for step in range(writer.run.step + 1, 10**9):
        (writer.finish if step % 5 == 0 else writer.checkpoint)(run_of(step))
        print(step, flush=True)
"""


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments(tmp_path, kills):
    """Of a process that does nothing but write. Its lock keeps others out, and ends with it."""
    path, clock, before = tmp_path / "run", random.Random(1), 0
    for number in range(kills):
        command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == before
            if number == 0:
                with pytest.raises(InputError, match="in use: another process"), reopened(path):
                    pass
            try:
                process.wait(timeout=clock.uniform(0, 0.2))
            except subprocess.TimeoutExpired:
                process.kill()
            told = process.stdout.read().split()
        assert process.returncode == -signal.SIGKILL
        found = load_run(path)
        assert_holds(found, found.step)
        last = int(told[-1]) if told else before
        assert found.step in (last, last + 1)
        before = found.step
    with reopened(path) as writer:
        writer.finish(replace(writer.run, step=10**6))
    assert load_run(path).step == 10**6
