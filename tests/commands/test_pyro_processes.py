"""`twinplate fit` by several real processes: of the command and of torchrun, killed, gone on with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from verify_files import twinplate

from twinplate import load
from twinplate.training.run_directory import reopened

STEPS = "1000"
FIT = ["fit", "x.npy", "--backend", "pyro"]
NEW = [*FIT, "--components", "2", "--steps", STEPS, "--device", "cpu", "--precision", "float64"]
COMMAND = [sys.executable, "-m", "twinplate"]
SECONDS = 25  # in which the command has to end: less than what ends a process that is stuck
PATIENCE = 100
ENDLESS = "1000000"  # steps, not done before workers have seen, a second later or more, that they are alone


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONPATH", "OMP_NUM_THREADS"):  # of the processes; three of them on two cores
        monkeypatch.setenv(name, {"PYTHONPATH": os.pathsep.join(sys.path)}.get(name, "1"))
    np.save("x.npy", np.random.default_rng(0).normal(size=(300, 6)).cumsum(axis=1))


@contextmanager
def begun(*words, after=0):
    """The command, once checkpoints show that it has trained; not alive afterwards, nor are its workers."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*words, "--checkpoint-every", "0"], **pipes)
    everyone, until = {}, time.monotonic() + PATIENCE
    try:
        while not (Path("run").is_dir() and load("run").state.step > after):
            assert time.monotonic() < until and process.poll() is None, process.communicate()
            time.sleep(0.05)
        everyone = workers(process)
        yield process, everyone
    finally:
        for pid in (process.pid, *everyone.values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def workers(process):
    """The process numbers of its workers by rank."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {}
    for child in map(int, children):
        surroundings = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks = [entry[5:] for entry in surroundings if entry.startswith(b"RANK=")]
        found |= {int(rank): child for rank in ranks}
    return found


def stopped(process, everyone, number, pid):
    """What the command says once a process got that signal; it and its workers are gone in SECONDS."""
    assert sorted(everyone) == [0, 1]
    sent = time.monotonic()
    os.kill(pid, number)
    _, said = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - sent < SECONDS, said
    assert not any(map(is_running, everyone.values()))
    return said


def is_running(pid):
    """Whether there is such a process, other than one that has ended and that nobody has waited for."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def assert_close(run, whole, steps=int(STEPS)):
    one, other = load(run), load(whole)
    assert one.state.step == steps == len(one.losses)
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-12)
    for name, values in other.params.items():
        np.testing.assert_allclose(
            one.params[name], values, rtol=0, atol=1e-12 * max(1, np.abs(values).max())
        )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc")
def test_two_processes_killed_and_interrupted_go_on_with_any_number(folder):
    with begun(*COMMAND, *NEW, "--devices", "2", "--out", "run") as (process, everyone):
        said = stopped(process, everyone, signal.SIGKILL, everyone[1])
    assert process.returncode == 2
    assert "of 2 processes that of rank 1 was ended by SIGKILL" in said and "--resume run" in said
    reached = load("run").state.step
    assert 0 < reached < int(STEPS)
    again = [*COMMAND, *FIT, "--resume", "run", "--devices", "2"]
    with begun(*again, after=reached) as (process, everyone):
        said = stopped(process, everyone, signal.SIGINT, process.pid)
    assert process.returncode == 130, said
    assert "by Ctrl-C; what was reached is saved in run" in said
    assert reached < load("run").state.step < int(STEPS)
    assert twinplate(*FIT, "--resume", "run") == 0
    assert twinplate(*NEW, "--out", "whole") == 0
    assert_close("run", "whole")


@pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc")
def test_kill_9_of_the_command_ends_its_processes(folder):
    """Nobody is left to end them. Rank 0 saves what was reached, and the lock is free."""
    endless = [word if word != STEPS else ENDLESS for word in NEW]
    with begun(*COMMAND, *endless, "--devices", "2", "--out", "run") as (process, everyone):
        said = stopped(process, everyone, signal.SIGKILL, process.pid)
    assert process.returncode == -signal.SIGKILL
    assert "hat was reached is saved in run" in said
    with reopened(Path("run")) as writer:
        assert 0 < writer.run.step == load("run").state.step < int(ENDLESS)


def test_data_that_rank_0_refuses_are_said_once_and_all_end(folder):
    np.save("x.npy", np.full((300, 6), np.inf))
    command = [*COMMAND, *NEW, "--devices", "2", "--out", "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2 and not Path("run").exists()
    assert done.stderr.count("x.npy holds 1,800 infinite entries") == 1
    assert "Traceback" not in done.stderr


TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.mark.slow
def test_torchrun_is_the_launch_line_for_hosts(folder):
    """Two hosts, of one process each, that meet on this machine."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    meet = ["--nnodes", "2", "--master-addr", "localhost", "--master-port", str(port)]
    few = [word if word != STEPS else "300" for word in NEW]
    hosts = [
        subprocess.Popen(
            [*TORCHRUN, *meet, "--node-rank", str(i), "-m", "twinplate", *few, "--out", "run"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    said = [host.communicate(timeout=PATIENCE) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    assert "Saved the run in run" in said[0][0] and said[1][0] == ""
    assert twinplate(*few, "--out", "whole") == 0
    assert_close("run", "whole", 300)


def test_what_cannot_be_launched_is_refused(folder, monkeypatch, capsys):
    assert twinplate(*NEW, "--out", "run", "--devices", "0") == 2
    assert "--devices is 0; expected 1 or more" in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("RANK", "0")
    assert twinplate(*NEW, "--out", "run", "--devices", "2") == 2
    assert "expected --backend pyro, and no --devices" in capsys.readouterr().err
