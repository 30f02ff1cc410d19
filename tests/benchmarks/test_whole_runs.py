"""The benchmark of whole runs: its rows, the ways that a program has, and its summary."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import whole_runs


def test_a_row_has_the_seconds_of_every_way(tmp_path, capsys):
    """In this process: that runs are apart is the next test."""
    path = tmp_path / "x"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_runs, "apart", whole_runs.run)
        given = ["--steps", "6", "3", "--repeats", "1", "--programs", "mixture_enumerated"]
        whole_runs.main([*given, "--json", str(path)])
    (row,) = json.loads(path.read_text())["rows"]
    assert row["steps"] == [3, 6]
    for way in ("pyro", "jit", "replay"):
        assert 0 < row[way][0] < row[way][1]
    assert row["memory"].keys() == {"pyro", "jit", "replay"}
    assert "6 steps: Pyro ÷ replay" in capsys.readouterr().out


def test_machine_code_is_measured_where_a_run_reaches_it(interpreted, monkeypatch):
    monkeypatch.setattr(whole_runs, "apart", whole_runs.run)
    reached, not_reached = (
        whole_runs.measured("score_function", [3, 6], 1, first) for first in (4, 6)
    )
    assert 0 < reached["cold"][0] < reached["cold"][1] and "warm" in reached
    assert "cold" not in not_reached and "jit" in not_reached
    assert len(whole_runs.cells(reached)) == 2


def test_a_way_that_a_program_does_not_have_is_left_out():
    assert whole_runs.run("renyi", "jit", [2], None) is None


def test_a_run_is_a_process_of_its_own():
    assert len(whole_runs.apart("score_function", "replay", [2], None).seconds) == 1
