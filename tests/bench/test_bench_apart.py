"""A process of its own that takes a whole run: gone with its caller, and with all its temporary files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from twinplate.bench.backend import IN_BACKGROUND
from twinplate.lifetime import ended

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

MARK = "TWINPLATE_TEST_FOLDER"
SECONDS = 60  # a busy machine takes long to import torch
# A run without an end; with machine code of a step that never comes, the compiler is at work beside it.
CALLER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
from tiny_workload import TINY
from twinplate.bench.fresh import run_apart
from twinplate.bench.workload import make_workload
run_apart("pyro", {way!r}, make_workload(TINY), [10**9], 10**9)
"""


def until(found, what):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {SECONDS} s")


def processes(folder):
    """The numbers of those that were started by who was to use this folder, and by those in turn."""
    wanted, found = f"{MARK}={folder}".encode(), set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_over = (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not is_over and wanted in (path / "environ").read_bytes().split(b"\0"):
                found.add(int(path.name))
    return found


@pytest.fixture
def begun(tmp_path):
    """`begun(way, count)`: who has asked for a run, once it is under way in `count` processes in all."""

    def begin(way, count):
        tests = Path(__file__).parents[1]
        world = os.environ | {
            "TMPDIR": str(tmp_path),
            MARK: str(tmp_path),
            "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}",
        }
        command = [sys.executable, "-c", CALLER.format(way=way)]
        caller = subprocess.Popen(command, env=world, stderr=subprocess.DEVNULL)
        until(lambda: len(processes(tmp_path)) >= count, f"{count} processes")
        until(lambda: [*tmp_path.iterdir()], "temporary file")
        return caller

    yield begin
    for process in processes(tmp_path):
        os.kill(process, signal.SIGKILL)


ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(n, marks=() if n == signal.SIGKILL else pytest.mark.slow, id=n.name)
        for n in ENDS
    ],
)
def test_a_run_ends_with_its_caller_and_leaves_nothing(begun, tmp_path, number):
    caller = begun("Pyro, ours, eager", 2)
    caller.send_signal(number)
    assert caller.wait(SECONDS) == -number
    until(lambda: not processes(tmp_path), "end of all processes")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_its_compiler_ends_with_it(begun, tmp_path, number):
    caller = begun(IN_BACKGROUND, 3)
    until(lambda: [*tmp_path.rglob("*.cpp")], "code for the C++ compiler")
    caller.send_signal(number)
    assert caller.wait(SECONDS) == -number
    until(lambda: not processes(tmp_path), "end of all processes")
    assert [*tmp_path.iterdir()] == []


def test_what_does_not_end_by_itself_is_killed(monkeypatch):
    monkeypatch.setattr("twinplate.lifetime.PATIENCE", 0.2)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    process.stdout.readline()
    with process, suppress(KeyboardInterrupt), ended(process):
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGKILL
