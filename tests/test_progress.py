"""What a log and a notebook, which are no terminals, are told of long work."""

from __future__ import annotations

import sys
from contextvars import copy_context
from types import SimpleNamespace

import numpy as np

from twinplate import progress
from twinplate.words import are, counted


def test_a_log_gets_a_line_after_two_seconds_then_in_ten_and_the_last(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    with progress.training_progress("guide", 1000, 50) as told:
        for done in range(100, 1001, 100):  # four seconds each
            now[0] += 4
            told(done, np.array([3.0, 2.0]))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "guide: 1,000 steps"
    assert [line.split(",")[0] for line in lines[1:]] == [
        f"guide: step {done}" for done in ("100 of 1", "400 of 1", "700 of 1", "1")
    ]
    assert lines[2] == "guide: step 400 of 1,000, loss 2.500, 1,250 items/s"
    with progress.rows_progress("Reading") as told:
        for done in (10, 20, 30):
            now[0] += 6
            told(done, 30)
    assert capsys.readouterr().err == "Reading: 10 of 30 items\nReading: 30 of 30 items\n"
    with progress.working("Case") as told:
        for seconds in (1, 1, 3):
            now[0] += seconds
            told(f"after {now[0]:g}")
    assert capsys.readouterr().err == "Case: after 60\n"


def test_a_notebook_has_one_line_that_changes(monkeypatch, capsys):
    now, outputs = [0.0], {}

    def display(data, *, raw, display_id, update):
        """Like IPython's."""
        assert raw and update == (display_id in outputs)
        outputs.setdefault(display_id, []).append(data["text/plain"])

    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))

    def train():
        with progress.training_progress("guide [b]", 40, 50) as told:
            for done in range(1, 41):  # 0.4 seconds each
                now[0] += 0.4
                told(done, np.array([3.0]))

    train()
    (lines,) = outputs.values()
    steps = [
        5,
        *range(8, 39, 3),
        40,
    ]  # after two seconds, then after more than one each, and the last
    assert [line.split(",")[0] for line in lines] == [
        "guide [b]: 40 steps",
        *(f"guide [b]: step {done} of 40" for done in steps),
    ]
    with progress.rows_progress("Reading") as told:
        told(1, 3)
    assert len(outputs) == 1  # nothing of what takes no time
    quiet = copy_context()
    quiet.run(progress.hide_progress)
    quiet.run(train)
    assert len(outputs) == 1 and capsys.readouterr() == ("", "")


def test_numbers_and_their_nouns():
    assert [counted(n, "item") for n in (0, 1, 2000)] == ["0 items", "1 item", "2,000 items"]
    assert f"{counted(1, 'entry', 'entries')} {are(1)}" == "1 entry is"
    assert f"{counted(2, 'entry', 'entries')} {are(2)}" == "2 entries are"
