"""`twinplate fit` in two processes that train together, by jax.distributed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from verify_files import twinplate

from twinplate.seeds import batch_indices
from twinplate.training.run_directory import load_run, read_newest

SMALL = ["--components", "2", "--guide", "diagonal", "--batch-size", "33", "--device", "cpu"]


FIT = (sys.executable, "-m", "twinplate", "fit", "x.npy")


@pytest.fixture
def start(own_folder):
    """`start(rank, *words)`: a process of several that fits; what is left of them is ended afterwards."""
    np.save("x.npy", np.random.default_rng(0).normal(size=(200, 4)))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    begun = []

    def one(rank: int, *words: str, fit=FIT, size=2) -> subprocess.Popen[str]:
        names = {
            "COORDINATOR_ADDRESS": f"localhost:{port}",
            "NUM_PROCESSES": size,
            "PROCESS_ID": rank,
        }
        others = {f"JAX_{name}": str(value) for name, value in names.items()}
        words = (*fit, *words)
        env = {**os.environ, **others, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (own_folder / f"said-{rank}").open("w") as said:
            begun.append(subprocess.Popen(words, env=env, stdout=said, stderr=said, text=True))
        return begun[-1]

    yield one
    for process in begun:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_two_processes_make_the_run_of_one_in_single_precision(start, own_folder):
    """Over a hundred steps."""
    more = [*SMALL, "--steps", "100", "--out"]
    both = [start(rank, *more, "two") for rank in (0, 1)]
    assert twinplate("fit", "x.npy", *more, "one") == 0
    said = [Path(f"said-{rank}") for rank in (0, 1)]
    assert [process.wait() for process in both] == [0, 0], [path.read_text() for path in said]
    one, two = load_run(own_folder / "one"), load_run(own_folder / "two")
    np.testing.assert_allclose(two.losses, one.losses, rtol=1e-6)


@pytest.mark.slow
def test_three_processes_make_the_run_of_one(start, own_folder):
    """33 items are 11 each; and 32, of which the last process has fewer."""
    for batch_size in ("33", "32"):
        more = [
            *SMALL,
            "--steps",
            "50",
            "--precision",
            "float64",
            "--batch-size",
            batch_size,
            "--out",
        ]
        all_three = [start(rank, *more, f"three-{batch_size}", size=3) for rank in range(3)]
        assert twinplate("fit", "x.npy", *more, f"one-{batch_size}") == 0
        said = [Path(f"said-{rank}").read_text() for rank in range(3)]
        assert [process.wait() for process in all_three] == [0, 0, 0], said
        one, three = (load_run(own_folder / f"{name}-{batch_size}") for name in ("one", "three"))
        np.testing.assert_allclose(three.losses, one.losses, rtol=1e-12)


def test_two_processes_make_the_run_of_one_and_each_reads_its_rows(start, own_folder):
    """Whose mini-batches they share unevenly; that of rank 0 alone writes, prints and looks at all data.

    Of Parquet: to check them its half of all rows, and then of each row group those between its items.
    """
    x = np.load("x.npy")
    columns = {name: x[:, j] for j, name in enumerate("abcd")}
    pq.write_table(pa.table(columns), "x.parquet", row_group_size=20)
    counted = str(Path(__file__).with_name("counted_fit.py"))
    more = [*SMALL, "--steps", "3", "--precision", "float64", "--out"]
    both = [
        start(rank, *more, "two", fit=(sys.executable, counted, f"{rank}.json", "fit", "x.parquet"))
        for rank in (0, 1)
    ]
    assert twinplate("fit", "x.npy", *more, "one") == 0
    ended = [process.wait() for process in both]
    said = [Path(f"said-{rank}").read_text() for rank in (0, 1)]
    assert ended == [0, 0], said
    one, two = load_run(own_folder / "one"), load_run(own_folder / "two")
    np.testing.assert_allclose(two.losses, one.losses, rtol=1e-12)
    assert "Saved the run in two" in said[0]
    assert [line for line in said[1].splitlines() if "[Gloo]" not in line] == []
    assert two.data["fingerprint"] == one.data["fingerprint"]
    asked = [
        [tuple(rows) for rows in json.loads(Path(f"{rank}.json").read_text())] for rank in (0, 1)
    ]
    items = batch_indices(0, 0, 3, 200, 33)[:, 17:]
    parts = [items[items // 20 == part] for part in range(10)]
    assert asked[1] == [(100, 200), *((part.min(), part.max() + 1) for part in parts if part.size)]
    assert (
        asked[0].count((0, 200)) == 4 and (0, 100) in asked[0]
    )  # a pass each, the last two at the end


def test_where_rank_0_refuses_the_data_the_other_one_ends_too(start, own_folder):
    np.save("x.npy", np.full((200, 4), np.inf))
    both = [start(rank, *SMALL, "--out", "run") for rank in (0, 1)]
    assert [process.wait() for process in both] == [2, 2]
    said = [Path(f"said-{rank}").read_text() for rank in (0, 1)]
    assert "x.npy holds 800 infinite entries" in said[0]
    assert "the process of rank 0 stopped before the first step, and says why" in said[1]


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
