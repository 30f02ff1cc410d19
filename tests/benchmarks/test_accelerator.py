"""The prepared run for an accelerator: parts that cannot hurt each other, and checks that can fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import accelerator
import accelerator_paths

WRITE = "import sys; print('said'); open(sys.argv[-1], 'w').write('[1]'); "


def part(then: str) -> list[str]:
    return [sys.executable, "-c", WRITE + then]


def test_a_part_that_fails_takes_nothing_from_the_others(tmp_path, monkeypatch, capsys):
    parts = {"broken": part("sys.exit(3)"), "well": part("")}
    monkeypatch.setattr(accelerator, "PARTS", parts)
    path = tmp_path / "found.json"
    with pytest.raises(SystemExit) as stop:
        accelerator.main(["--json", str(path)])
    found = json.loads(path.read_text())["parts"]
    assert stop.value.code == 1 and [found[name]["exit_code"] for name in parts] == [3, 0]
    assert [found[name]["found"] for name in parts] == [[1], [1]]
    assert found["broken"]["output"] == ["said"] and "output" not in found["well"]
    assert "with exit code 3" in capsys.readouterr().out


def test_a_part_that_is_late_ends_with_all_that_it_has_started(capsys):
    """And what it had written by then counts."""
    child = (
        "import subprocess; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    )
    late = accelerator.take_part(part(child), 3.0)
    assert (late["exit_code"], late["found"]) == (-9, [1])
    assert accelerator._told(late) == "out of time, part of it written"


def test_parts_without_time_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(accelerator, "PARTS", {"well": part("")})
    path = tmp_path / "found.json"
    with pytest.raises(SystemExit) as stop:
        accelerator.main(["--seconds", "0", "--json", str(path)])
    none = json.loads(path.read_text())["parts"]["well"]
    assert not stop.value.code and none["exit_code"] is None and none["found"] is None
    assert "no time was left" in capsys.readouterr().out


def test_the_paths_are_checked_and_a_wrong_one_is_told(tmp_path, monkeypatch, capsys):
    path = tmp_path / "found.json"
    wrong = "pyro: CompiledSVI and SVI"
    right = "pyro: stopped and gone on with"

    def off(work, device):
        raise RuntimeError("no kernel")

    monkeypatch.setitem(accelerator_paths.CHECKS, wrong, (off, 0.0))
    checks = [right, "pyro: replayed and eager", wrong]
    with pytest.raises(SystemExit) as stop:
        accelerator_paths.main(["--device", "cpu", "--checks", *checks, "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert stop.value.code == 1 and [row["right"] for row in rows] == [True, True, False]
    assert [row["found"] for row in rows] == [0.0, 0.0, None]
    assert rows[2]["error"] == "RuntimeError: no kernel" and " NO " in capsys.readouterr().out


def test_a_difference_that_is_too_large_is_wrong():
    assert accelerator_paths.apart([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
