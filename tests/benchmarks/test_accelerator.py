"""The prepared run for an accelerator: parts that cannot hurt each other, and checks that can fail."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import accelerator
import accelerator_paths

WRITE = "import sys; print('said'); open(sys.argv[-1], 'w').write('[1]'); "


def part(then: str) -> list[str]:
    return [sys.executable, "-c", WRITE + then]


def test_a_part_that_fails_or_is_late_takes_nothing_from_the_others(tmp_path, monkeypatch, capsys):
    child = (
        "import subprocess; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    parts = {
        "well": part(""),
        "broken": part("sys.exit(3)"),
        "late": part(child),
        "no time": part(""),
    }
    monkeypatch.setattr(accelerator, "PARTS", parts)
    path, started = tmp_path / "found.json", time.monotonic()
    with pytest.raises(SystemExit) as stop:
        accelerator.main(["--seconds", "3", "--json", str(path)])
    assert stop.value.code == 1 and time.monotonic() - started < 30
    found = json.loads(path.read_text())["parts"]
    assert [found[name]["exit_code"] for name in parts] == [0, 3, -9, None]
    assert [found[name]["found"] for name in parts] == [[1], [1], [1], None]
    assert found["broken"]["output"] == ["said"] and "output" not in found["well"]
    told = capsys.readouterr().out
    assert "out of time, part of it written" in told and "with exit code 3" in told


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
