"""`twinplate fit` in two processes that train together, by jax.distributed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from verify_files import twinplate

from twinplate.training.run_directory import load_run, read_newest

SMALL = ["--components", "2", "--guide", "diagonal", "--batch-size", "33", "--device", "cpu"]


@pytest.fixture
def start(own_folder):
    """`start(rank, *words)`: a process of two that fits; what is left of them is ended afterwards."""
    np.save("x.npy", np.random.default_rng(0).normal(size=(200, 4)))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    begun = []

    def one(rank: int, *words: str) -> subprocess.Popen[str]:
        names = {"COORDINATOR_ADDRESS": f"localhost:{port}", "NUM_PROCESSES": 2, "PROCESS_ID": rank}
        others = {f"JAX_{name}": str(value) for name, value in names.items()}
        words = (sys.executable, "-m", "twinplate", "fit", "x.npy", *words)
        env = {**os.environ, **others, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (own_folder / f"said-{rank}").open("w") as said:
            begun.append(subprocess.Popen(words, env=env, stdout=said, stderr=said, text=True))
        return begun[-1]

    yield one
    for process in begun:
        process.kill()
        process.wait()


def test_two_processes_make_the_run_of_one(start, own_folder):
    """Whose mini-batches they share unevenly; the process of rank 0 alone writes and prints."""
    more = [*SMALL, "--steps", "100", "--out"]
    both = [start(rank, *more, "two") for rank in (0, 1)]
    assert twinplate("fit", "x.npy", *more, "one") == 0
    said = [Path(f"said-{rank}") for rank in (0, 1)]
    assert [process.wait() for process in both] == [0, 0], [path.read_text() for path in said]
    one, two = load_run(own_folder / "one"), load_run(own_folder / "two")
    np.testing.assert_allclose(two.losses, one.losses, rtol=1e-6)
    assert "Saved the run in two" in said[0].read_text()
    lines = [line for line in said[1].read_text().splitlines() if "[Gloo]" not in line]
    assert lines == []


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_where_one_process_dies_or_hangs_the_other_one_stops(start, own_folder, dies, how):
    """Within ten seconds, naming it; and the run goes on, on one device."""
    more = [*SMALL, "--steps", "1000000", "--checkpoint-every", "0", "--out", "run"]
    both = [start(rank, *more) for rank in (0, 1)]
    while not (Path("run").exists() and read_newest(own_folder / "run").run.step >= 200):
        assert [process.poll() for process in both] == [None, None]
        time.sleep(0.3)
    both[dies].send_signal(getattr(signal, how))
    died = time.monotonic()
    both[1 - dies].wait()
    assert time.monotonic() - died < 10
    said = Path(f"said-{1 - dies}").read_text()
    # of rank 0, where the coordination service is, JAX says that the service is gone or silent
    service = "|leader task|CoordinationService/Heartbeat" if dies == 0 else ""
    named = rf"rank {dies} has ended|unhealthy.*\n{dies}\n" + service
    assert re.search(named, said), said
    both[dies].kill()
    both[dies].wait()
    reached = read_newest(own_folder / "run").run.step
    assert reached >= 200 and reached % 100 == 0
    more = ["--resume", "run", "--steps", "1000001", "--checkpoint-every", "0"]
    assert _resumed_to(own_folder / "run", reached + 100, more)


def _resumed_to(run: Path, step: int, words: list[str]) -> bool:
    """Whether a process that is alone goes on with the run up to this step."""
    process = subprocess.Popen([sys.executable, "-m", "twinplate", "fit", "x.npy", *words])
    try:
        while read_newest(run).run.step < step:
            if process.poll() is not None:
                return False
            time.sleep(0.3)
    finally:
        process.kill()
        process.wait()
    return True
