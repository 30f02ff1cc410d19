"""The benchmark of replayed steps: one small program, its row, and losses that have to agree."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import replay


def test_a_row_for_each_program(capsys, tmp_path):
    replay.main(["--steps", "4", "--programs", "score_function", "--json", str(tmp_path / "x")])
    printed = capsys.readouterr().out
    assert "score_function" in printed and "median ratio" in printed
    assert (tmp_path / "x").exists()


def test_losses_that_differ_end_it(monkeypatch):
    step = replay.Way.step

    def wrong(way):
        step(way)
        way.losses[-1] += len(replay.replays(way.svi))

    monkeypatch.setattr(replay.Way, "step", wrong)
    with pytest.raises(SystemExit, match="losses differ"):
        replay.measure("score_function", 2)
