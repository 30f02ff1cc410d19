"""Every benchmark runs by its path, and what it writes is whole."""

import json
import os
import runpy
import sys
from pathlib import Path
from unittest import mock

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from reporting import write_json

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = [
    path.stem
    for path in sorted(BENCHMARKS.glob("*.py"))
    if "ArgumentParser" in (text := path.read_text()) and '__name__ == "__main__"' in text
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_by_its_path(name, monkeypatch, capsys):
    path = str(BENCHMARKS / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [path, "--help"])
    surroundings = mock.patch.dict(os.environ)  # scripts say how many threads and devices they want
    with surroundings, pytest.raises(SystemExit) as stop:
        runpy.run_path(path, run_name="__main__")
    assert not stop.value.code and "--json" in capsys.readouterr().out


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "rows.json"
    write_json(path, {"rows": [1]})
    with pytest.raises(TypeError):
        write_json(path, {"rows": [object()]})
    assert json.loads(path.read_text()) == {"rows": [1]}
    assert list(tmp_path.iterdir()) == [path]
    write_json(None, {"rows": [object()]})
