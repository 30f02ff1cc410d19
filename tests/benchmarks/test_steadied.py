"""The benchmark of the cut and the net in recipes of one's own: its rows, and what they are counted by."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import steadied
from zoo_problems import zoo


def test_every_way_has_a_row(tmp_path, capsys):
    path = tmp_path / "rows.json"
    (few,) = [problem for problem in zoo() if problem.name == "few-00-learned"]
    steadied.main(["--steps", "20", "--json", str(path)], lambda: [few])
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 6 and not any(row["diverged"] for row in rows)
    assert "0 of 1" in capsys.readouterr().out
    steadied.main(["--steps", "20", "--json", str(path)], lambda: [few])  # goes on: nothing is left
    assert json.loads(path.read_text())["rows"] == rows


def test_medians_are_over_problems_that_no_way_lost():
    rows = [
        {"problem": p, "framework": "pyro", "way": way, "diverged": gap is None}
        | {"gap": gap, "missed": gap}
        for p, gaps in {"a": (1.0, 2.0, 3.0), "b": (None, 5.0, 7.0)}.items()
        for way, gap in zip(steadied.WAYS, gaps, strict=True)
    ]
    assert [line[2:4] for line in steadied.lines(rows)] == [
        ["1 of 2", "1.0000"],
        ["0 of 2", "2.0000"],
        ["0 of 2", "3.0000"],
    ]
