"""Targets and the recommendation of `twinplate bench`, on tables made up for them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from twinplate.bench import measure, report, timing
from twinplate.bench.backend import Started
from twinplate.bench.measure import Measured, Timing
from twinplate.bench.report import TARGETS, Target, break_even, outcome, recommend
from twinplate.bench.timing import Interval
from twinplate.commands import bench_command


def row(name, median_ms=1.0, compile_s=0.0, device="cpu", size="S"):
    return Timing(size, device, name, median_ms, 0.1, 1.0, compile_s, 1.0)


def table(size="S", **seconds):
    values = {name.replace("_", " "): np.asarray(v) for name, v in seconds.items()}
    rows = [row(name, 1e3 * float(np.median(v)), size=size) for name, v in values.items()]
    return Measured(size, "cpu", rows, values, {})


def test_a_bound_is_met_when_the_interval_reaches_it():
    upper = Target("t", "a", "b", {"S": 1.1})
    lower = Target("t", "a", "b", {"S": 1.1}, least=True)
    for interval, met_upper, met_lower in [
        (Interval(1.2, 1.1, 1.3), True, True),
        (Interval(1.2, 1.11, 1.3), False, True),
        (Interval(1.0, 0.9, 1.09), True, False),
        (Interval(1.0, 0.9, 1.1), True, True),
    ]:
        assert upper.met(interval, "S") is met_upper
        assert lower.met(interval, "S") is met_lower


@pytest.mark.parametrize(
    ("numerator", "bound", "cell"),
    [
        ([1.0, 1.0, 1.0], 1.1, "1 (1 to 1) ≤ 1.1 met"),
        ([1.0, 1.2, 1.2], 1.1, "1.2 (1 to 1.2) ≤ 1.1 met by the interval only"),
        ([1.2, 1.2, 1.2], 1.1, "1.2 (1.2 to 1.2) ≤ 1.1 NOT met"),
        (None, 1.1, "not measured"),
        ([1.2, 1.2, 1.2], None, "1.2 (1.2 to 1.2)"),
    ],
)
def test_a_cell_says_what_became_of_a_bound(monkeypatch, numerator, bound, cell):
    bounds = {} if bound is None else {"S": bound}
    monkeypatch.setattr(report, "TARGETS", (Target("ours ÷ hand", "a", "b", bounds),))
    seconds = {"b": [1.0, 1.0, 1.0]} | ({} if numerator is None else {"a": numerator})
    console = Console(width=200, record=True)
    report.show_targets([table(**seconds)], console)
    (line,) = [line for line in console.export_text().splitlines() if "ours ÷ hand" in line]
    assert [part.strip() for part in line.strip("│┃ ").split("│")] == ["ours ÷ hand", cell]


def test_a_table_says_what_share_of_the_limit_is_reached_and_what_failed():
    rows = [row("slow", 8.0), row("quick", 4.0)]
    measured = Measured("S", "cpu", rows, {}, {"lost": "MemoryError: no more"}, limit_ms=2.0)
    console = Console(width=200, record=True)
    report.show_table(measured, console)
    printed = console.export_text()
    quick, slow = (
        next(line for line in printed.splitlines() if name in line) for name in ("quick", "slow")
    )
    assert "50%" in quick and "25%" in slow
    assert printed.index("quick") < printed.index("slow")
    assert "lost" in printed and "MemoryError: no more" in printed


def test_without_a_floor_the_ratio_is_to_the_fastest_way_round_by_round():
    measured = table(slow=[2.0, 4.0, 12.0], quick=[1.0, 2.0, 3.0])
    measured = replace(measured, rows=[replace(row, ratio_to_floor=None) for row in measured.rows])
    console = Console(width=200, record=True)
    report.show_table(measured, console)
    lines = console.export_text().splitlines()
    header, quick, slow = (next(x for x in lines if w in x) for w in ("way to", "quick", "slow"))
    assert "÷ fastest" in header and "÷ floor" not in header
    assert " 1.00 " in quick and " 2.00 " in slow


def test_the_best_algorithm_is_the_fastest_hand_written_one():
    seconds = {
        "NumPyro, ours": [1.2, 2.4, 1.2],
        "JAX, hand-written, packed": [1.2, 2.4, 1.2],
        "JAX, hand-written, rows": [1.0, 2.0, 1.0],
        "JAX, hand-written, filled": [3.0, 3.0, 3.0],
    }
    measured = table(**seconds)
    same, best, stock = (outcome(target, measured) for target in TARGETS[:3])
    assert same == (Interval(1.0, 1.0, 1.0), True)
    assert best[0].median == pytest.approx(1.2) and best[1] is False
    assert stock == (None, None)
    assert outcome(TARGETS[0], table(size="yours", **seconds))[1] is None


def test_the_recommendation_counts_compilation():
    rows = [row("NumPyro, ours", 1.0, 8.0), row("Pyro, ours, replayed", 5.0, 0.0)]
    few, many = recommend(rows, 1000), recommend(rows, 100_000)
    assert few[0].startswith("For 1,000 steps pick Pyro, ours, replayed on cpu: 5 s")
    assert "from 2,001 steps on it would be the first choice" in few[2]
    assert many[0].startswith("For 100,000 steps pick NumPyro, ours on cpu: 108 s")
    assert "4.6 times as long" in many[1] and len(many) == 2


EAGER = row("Pyro, ours, replayed", 5.0, 0.0)


def test_what_another_way_always_beats_is_never_the_first_choice():
    numpyro, compiled = row("NumPyro, ours", 1.0, 10.0), row("Pyro, ours, compiled", 1.05, 20.0)
    lines = recommend([EAGER, numpyro, compiled], 1000)
    assert lines[0].startswith("For 1,000 steps pick Pyro, ours, replayed")
    (turn,) = [line for line in lines if "first choice" in line]
    assert "from 2,501 steps on it would be the first choice" in turn
    assert lines[lines.index(turn) - 1].startswith("NumPyro, ours")


def test_a_way_that_is_the_first_choice_for_a_while_says_until_when():
    quick, slow = row("NumPyro, ours", 2.0, 3.0), row("Pyro, ours, compiled", 1.0, 8.0)
    rows = [EAGER, quick, slow]
    turns = [line for line in recommend(rows, 10) if "first choice" in line]
    assert "from 1,001 to 5,000 steps it would be the first choice" in turns[0]
    assert "from 5,001 steps on it would be the first choice" in turns[1]
    for steps in (1000, 1001, 5000, 5001):
        best = min(rows, key=lambda r: report.total_seconds(r, steps))
        least, most = report.first_choice(best, [r for r in rows if r is not best])
        assert least <= steps <= most
    twin = row("as long, and compiled for longer", 5.0, 1.0)
    assert report.first_choice(twin, [EAGER])[1] == 0


def test_within_pyro_the_recommendation_says_when_compiling_pays():
    rows = [row("NumPyro, ours", 1.0), row("Pyro, ours, replayed", 5.0)]
    faster, slower = (row("Pyro, ours, compiled", ms, 8.0) for ms in (1.0, 6.0))
    assert (
        recommend([*rows, faster], 10)[-1]
        == "In Pyro on cpu, machine code pays from 2,001 steps on."
    )
    assert recommend([*rows, slower], 10)[-1] == "In Pyro on cpu, machine code never pays."


def test_break_even_is_where_the_totals_cross():
    best, other = row("a", 5.0, 0.0), row("b", 1.0, 8.0)
    turn = break_even(best, other)
    totals = [[report.total_seconds(r, n) for r in (best, other)] for n in (turn - 1, turn)]
    assert totals[0][0] <= totals[0][1] and totals[1][0] > totals[1][1]
    assert break_even(other, best) is None


def test_the_recommendation_says_what_is_missing_and_what_is_as_good():
    rows = [row("NumPyro, ours", 1.0, device="gpu"), row("NumPyro, ours", 1.05)]
    lines = recommend(rows, 100, ["pyro"])
    assert "on gpu" in lines[0] and "about as fast" in lines[1]
    assert "pip install 'twinplate[pyro]'" in lines[-1]
    assert len(recommend([], 100)) == 1


def test_rows_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("earlier")
    measured = Measured("S", "cpu", [row("a")], {}, {})
    bench_command.write(path, [measured])
    assert json.loads(path.read_text())[0]["name"] == "a"
    bench_command.write(None, [measured])
    started = {"a": Started(lambda chunk: chunk, np.zeros(1), 0.0, 0.0)}
    assert measure.make_timings("S", "cpu", started, {"a": np.ones(3)}, None)[0].median_ms == 1e3
    assert timing.spread([1.0, 2.0, 3.0]) == 1.0
