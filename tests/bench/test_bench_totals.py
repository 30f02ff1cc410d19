"""The time of whole runs: measured in processes of their own, computed beyond, and what is picked by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console
from tiny_workload import TINY

from twinplate.bench import fresh, report, totals
from twinplate.bench.backend import IN_BACKGROUND, Route
from twinplate.bench.measure import Measured, Timing
from twinplate.bench.workload import make_workload


def row(name, median_ms, compile_s=0.0, **changes):
    return Timing("S", "cpu", name, median_ms, 0.1, 1.0, compile_s, 1.0, **changes)


# compiles for 8 s while steps of 2 ms are replayed at 4 ms, waits at the 1,000th, then takes 1 ms a step
LATE = row(
    "Pyro, ours, in background, from step 1,000",
    1.0,
    0.5,
    totals=((1, 0.5), (999, 4.5), (1000, 8.5)),
)
REPLAYED = row("Pyro, ours, replayed", 2.0, 0.4, totals=((1, 0.5), (1000, 2.5)))
WAITING = row("Pyro, ours, compiled", 1.0, 8.0)


@pytest.mark.parametrize(
    ("steps", "seconds"), [(1, 0.5), (500, 2.5), (999, 4.5), (1000, 8.5), (3000, 10.5)]
)
def test_a_run_is_measured_as_far_as_it_went_and_computed_beyond(steps, seconds):
    assert totals.total_seconds(LATE, steps) == pytest.approx(seconds)
    assert totals.is_measured(LATE, steps) is (steps <= 1000)
    assert totals.total_seconds(WAITING, steps) == pytest.approx(8 + steps / 1000)
    assert not totals.is_measured(WAITING, steps)


def test_a_late_switch_pays_where_the_totals_cross():
    """8.5 + (n - 1000) / 1000 s and 2.5 + 2 (n - 1000) / 1000 s: at 7,000 steps."""
    turn = report.break_even(REPLAYED, LATE)
    assert turn == 7001
    either = [[totals.total_seconds(r, n) for r in (REPLAYED, LATE)] for n in (turn - 1, turn)]
    assert either[0][0] == pytest.approx(either[0][1]) and either[1][0] > either[1][1]


def test_what_is_picked_depends_on_the_number_of_steps():
    rows = [REPLAYED, LATE, WAITING]
    spans = [(first, last, way.name) for first, last, way in totals.shortest_ways(rows)]
    assert spans == [(1, 1_000, REPLAYED.name), (10_000, 10_000, LATE.name)]
    lines = report.recommend(rows, 20_000)
    assert lines[0].startswith(f"For 20,000 steps pick {LATE.name} on cpu: 27.5 s (0.5 s to the")
    assert "; 1,000 steps measured)" in lines[0]
    assert report.recommend(rows, 100)[0].endswith("; 100 steps measured).")
    assert lines[-1] == (
        "Shortest in all, compiling included: 1 to 1,000 steps Pyro, ours, replayed on cpu; "
        f"10,000 steps {LATE.name} on cpu."
    )
    assert not any("Shortest" in line for line in report.recommend([WAITING], 10))


def test_the_table_tells_measured_from_computed_seconds():
    console = Console(width=150, record=True)
    by_hand = row("JAX, hand-written, packed", 1.0)
    report.show_totals(Measured("S", "cpu", [WAITING, LATE, by_hand], {}, {}), console)
    lines = console.export_text().splitlines()
    cells = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in lines if "│" in line}
    assert [c.strip() for c in cells[LATE.name]] == ["0.5", "0.54", "0.9", "8.5", "~18"]
    assert [c.strip() for c in cells[WAITING.name]] == ["~8", "~8", "~8.1", "~9", "~18"]
    assert by_hand.name not in cells
    report.show_totals(Measured("S", "cpu", [WAITING], {}, {}), console)
    assert "seconds in all" not in console.export_text()


def test_machine_code_is_switched_on_where_compiling_is_about_done():
    compiled, replayed = row("a", 1.0, 40.0), row("b", 3.5)
    assert fresh.switch_step(compiled, replayed) == 10_000  # of 11,428 steps
    assert fresh.switch_step(compiled, row("b", 250.0)) == 100  # of 160
    assert fresh.switch_step(row("a", 1.0, 0.001), replayed) == 10


@pytest.fixture(scope="module")
def work():
    return make_workload(TINY)


def test_a_run_stops_before_it_would_take_too_long(work, monkeypatch):
    """By a clock of its own: half a second to the first step, then a millisecond each."""
    now = [0.0]
    monkeypatch.setattr(fresh.time, "perf_counter", lambda: now[0])

    def start():
        now[0] += 0.499

        def run(chunk):
            now[0] += 1e-3 * len(chunk.rates)

        return run

    found = fresh.seconds_until(work, Route(start), [1, 10, 100, 1_000, 10_000], 2.0)
    assert [n for n, _ in found] == [1, 10, 100, 1_000]
    assert [seconds for _, seconds in found] == pytest.approx([0.5, 0.509, 0.599, 1.499])


@pytest.mark.parametrize("backend", ["pyro", pytest.param("numpyro", marks=pytest.mark.slow)])
def test_a_shipped_way_runs_in_a_process_of_its_own(work, backend):
    name = {"pyro": "Pyro, ours, replayed", "numpyro": "NumPyro, stock, filled"}[backend]
    found = fresh.run_apart(backend, name, work, (1, 3))
    assert [n for n, _ in found] == [1, 3]
    assert 0 < found[0][1] < found[1][1]


def test_what_a_process_fails_of_is_said_and_the_rest_goes_on(work, monkeypatch):
    class Backend:
        def routes(self, work, device):
            return dict.fromkeys(
                ["Pyro, ours, replayed", "Pyro, ours, eager", "torch, hand-written"]
            )

    asked = []

    def run_apart(backend, way, work, marks, first=None):
        asked.append((way, first))
        if way == "Pyro, ours, eager":
            raise RuntimeError("no more memory")
        return tuple((n, float(n)) for n in marks)

    monkeypatch.setattr(fresh, "run_apart", run_apart)
    by_hand = row("torch, hand-written", 1.0)
    plain = [replace(REPLAYED, totals=()), WAITING, row("Pyro, ours, eager", 3.0), by_hand]
    found = fresh.with_totals(Measured("S", "cpu", plain, {}, {}), work, {"pyro": Backend()})
    apart = {(REPLAYED.name, None), ("Pyro, ours, eager", None), (IN_BACKGROUND, 2_000)}
    assert {*asked} == apart and len(asked) == 3
    rows = {r.name: r for r in found.rows}
    assert rows[REPLAYED.name].totals[-1] == (10_000, 10_000.0)
    late = rows[f"{IN_BACKGROUND} from step 2,000"]
    assert late.totals == ((1, 1), (10, 10), (100, 100), (1000, 1000), (1999, 1999), (2000, 2000))
    assert late.median_ms == WAITING.median_ms
    assert rows["Pyro, ours, eager"].totals == () == rows[WAITING.name].totals
    told = "Pyro, ours, eager, in a process of its own"
    assert found.failed == {told: "RuntimeError: no more memory"}
    elsewhere = Measured("S", "gpu", plain, {}, {})
    assert fresh.with_totals(elsewhere, work, {"pyro": Backend()}) is elsewhere


def test_a_process_that_fails_says_why(work):
    with pytest.raises(RuntimeError, match="no such way"):
        fresh.run_apart("pyro", "no such way", work, (1,))


@pytest.mark.slow
def test_machine_code_in_the_background_is_cold_in_every_run(work):
    """Its compiler takes longer than ten steps of no size, so that the tenth waits."""
    found = dict(fresh.run_apart("pyro", IN_BACKGROUND, work, (1, 9, 10), 10))
    assert found[10] - found[9] > 2 > found[9] - found[1]
