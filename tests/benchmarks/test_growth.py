"""The growth benchmark: a point is a process, a block as large as asked for, every axis drawn."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.training.memory import items_at_once
from twinplate.training.plan import chunks

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import growth
import growth_point


def tiny_point(**changes):
    known = {**growth.SIZES, "num_features": 6, "num_components": 2, "batch_size": 8, "steps": 2}
    return growth_point.Point(**{"backend": "numpyro", "num_items": 32, **known, **changes})


def test_a_point_is_a_process_of_its_own():
    row = growth.measure(tiny_point())
    assert row["peak_mb"] > row["base_mb"] > 0 and row["step_ms"] > 0
    failed = growth.measure(tiny_point(batch_size=0))
    assert "batch_size is 0" in failed["failed"]
    assert growth.cells(failed)[-4:] == ["–"] * 4


def test_a_point_has_one_thread(monkeypatch):
    given = {}

    def died(command, **options):
        given.update(options)
        return SimpleNamespace(returncode=1, stderr="")

    monkeypatch.setattr(growth.subprocess, "run", died)
    assert growth.measure(tiny_point())["failed"] == "killed"
    assert given["env"] == os.environ | {"OMP_NUM_THREADS": "1", "NPROC": "1"}


def test_the_time_of_a_step_is_that_of_its_chunk_divided(monkeypatch):
    """Chunks of large mini-batches have fewer steps than the point asks for: here 2 instead of 6."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 2 * 8 * 8 * 6)
    told, clock = [], iter(range(1000))

    class Implementation:
        @staticmethod
        def fit(x, program, training, progress):
            for chunk in chunks(program.config, training, len(x), matched=False):
                told.append(len(chunk.rates))
                progress(chunk.first + len(chunk.rates), None)

    monkeypatch.setattr(growth_point, "load_backend", lambda name: Implementation)
    monkeypatch.setattr(growth_point.time, "perf_counter", lambda: next(clock))
    row = growth_point.measure(tiny_point(steps=6))
    assert told == [2] * 12
    assert row["step_ms"] == 500.0 and row["step_ms_range"] == [500.0, 500.0]


@pytest.mark.parametrize("block", [8, 4])
def test_a_block_is_as_large_as_asked_for(block):
    program, training = ProgramConfig(6, 2), TrainingConfig(2, 8)
    with growth_point.swapped(tiny_point(block=block)):
        assert items_at_once(program, training, 2**40) == block
        assert [len(c.rates) for c in chunks(program, TrainingConfig(6, 8), 32, False)] == [2] * 3


def test_the_exponent_is_that_of_the_upper_half():
    line = [{"axis": "batch", "batch_size": n, "step_ms": 7 + n**2} for n in (1, 10_000, 100_000)]
    assert growth.exponent(line, "batch_size") == pytest.approx(2)
    assert growth.exponent(line[:2], "batch_size") == pytest.approx(2 - np.log10(8) / 4)


@pytest.mark.slow
@pytest.mark.usefixtures("interpreted")
def test_growth_measures_and_draws_every_axis(tmp_path, monkeypatch, capsys):
    small = {"num_features": 6, "num_components": 2, "hidden_width": 8}
    monkeypatch.setattr(growth, "SIZES", small)
    monkeypatch.setattr(growth, "BATCHES", (64, 256))
    monkeypatch.setattr(growth, "COMPONENTS", (2, 4))
    large = {"num_items": 64, "num_features": 6, "batch_size": 16, "steps": 2}
    monkeypatch.setattr(growth, "LARGE", large)
    monkeypatch.setattr(growth, "WHOLE", {**large, "num_components": 4})
    monkeypatch.setattr(growth, "BEYOND", {**large, "num_components": 6, "batch_size": 64})
    limit = tmp_path / "memory.max"
    limit.write_text(
        "700000"
    )  # a quarter of it: 32 of 64 items of K = 6, and all of every other point
    monkeypatch.setattr("twinplate.host.GROUPS", (str(limit),))
    monkeypatch.setattr(growth, "measure", growth_point.measure)  # in this process: a second each
    rows, picture = tmp_path / "growth.json", tmp_path / "growth.png"
    options = ["--items", "300", "600", "--backends", "pyro"]
    growth.main([*options, f"--json={rows}", f"--picture={picture}"])
    found = json.loads(rows.read_text())["rows"]
    axes = ["items"] * 2 + ["batch"] * 4 + ["components"] * 11
    assert [row["axis"] for row in found] == axes
    assert all(row["step_ms"] > 0 and row["peak_mb"] > 0 for row in found)
    assert all("read_s" in row and "write_s" in row for row in found[:2])
    assert [row["num_items"] for row in found[:2]] == [300, 600]
    assert [row["batch_size"] for row in found[2:6]] == [64, 256] * 2
    assert [row["compiled"] for row in found[2:6]] == [False] * 2 + [True] * 2
    assert [row["covariance"] for row in found[6:14]] == (["full"] * 2 + ["low-rank"] * 2) * 2
    assert [row["block"] for row in found[6:]] == [0] * 8 + [16, 2, 0]
    assert [row["at_once"] for row in found[6:]] == [16] * 9 + [2, 32]
    printed = capsys.readouterr().out
    assert "full, 2 at once" in printed and "full, 32 at once" in printed
    assert printed.count("exponent") == 7  # items; batch and both covariances, eager and compiled
    image = import_module("matplotlib.image").imread(picture)
    assert image.shape[1] == 3 * 440  # a column for each axis
    for column in np.split(image[..., :3], 3, axis=1):  # the first line's colour
        assert (np.abs(column - [0x1F / 255, 0x77 / 255, 0xB4 / 255]).max(-1) < 0.01).any()
