"""The benchmark's picture: what is drawn, on which axes."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate.bench.measure import FLOOR, Measured, Timing
from twinplate.bench.picture import FAMILIES, write_cases, write_picture

figure = pytest.importorskip("matplotlib.figure")
FLOPS = {"S": 10**7, "M": 10**9}


def measured(size, **medians):
    rows = [Timing(size, "cpu", name, ms, 0.1, 1.0, 0.0, 1.0) for name, ms in medians.items()]
    return Measured(size, "cpu", rows, {}, {}, limit_ms=medians[FLOOR] / 2)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures = []
    save = figure.Figure.savefig

    def kept(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(figure.Figure, "savefig", kept)
    return figures


def test_time_against_work_on_logarithmic_axes_with_the_floor_and_the_limit(tmp_path, drawn):
    tables = [
        measured("M", **{FLOOR: 10.0, "NumPyro, ours": 12.0, "Pyro, stock": 30.0}),
        measured("S", **{FLOOR: 0.5, "NumPyro, ours": 0.75}),  # where stock failed
    ]
    write_picture(tmp_path / "speed.png", tables, FLOPS)
    axes = drawn[0].axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "milliseconds" in axes.get_ylabel() and "operations" in axes.get_xlabel()
    lines = {line.get_label().split(":")[0]: line.get_xydata() for line in axes.get_lines()}
    expected = {
        FLOOR: [(1e7, 0.5), (1e9, 10.0)],
        "NumPyro, ours": [(1e7, 0.75), (1e9, 12.0)],
        "Pyro, stock": [(1e9, 30.0)],
        "limit": [(1e7, 0.25), (1e9, 5.0)],
    }
    assert lines.keys() == expected.keys()
    for name, points in expected.items():
        np.testing.assert_array_equal(lines[name], points, err_msg=name)
    assert [tick.get_text()[0] for tick in axes.get_xticklabels()] == ["S", "M"]
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_total_time_counts_compiling(tmp_path, drawn):
    rows = [
        Timing("S", "cpu", "NumPyro, ours", 1.0, 0.1, 1.0, 8.0, 1.0),
        Timing("S", "cpu", "Pyro, ours, replayed", 5.0, 0.1, 1.0, 0.5, 1.0),
    ]
    write_picture(tmp_path / "speed.png", [Measured("S", "cpu", rows, {}, {})], FLOPS)
    axes = drawn[0].axes[1]
    assert axes.get_title() == "S on cpu: total time" and axes.get_xscale() == "log"
    slow, fast = (line.get_xydata() for line in axes.get_lines())  # the slowest step first
    assert slow[0] == pytest.approx([1, 0.505]) and fast[0] == pytest.approx([1, 8.001])
    assert slow[-1] == pytest.approx([10_000, 50.5]) and fast[-1] == pytest.approx([10_000, 18.0])


def test_what_was_measured_of_total_time_has_dots(tmp_path, drawn):
    """The line goes through them, and on from the last one."""
    marks = ((1, 0.5), (100, 2.0), (20_000, 90.0))
    measured = Timing("S", "cpu", "Pyro, ours, replayed", 5.0, 0.1, 1.0, 0.5, 1.0, totals=marks[:2])
    late = Timing("S", "cpu", "Pyro, ours, in background", 2.0, 0.1, 1.0, 0.5, 1.0, totals=marks)
    by_hand = Timing("S", "cpu", "JAX, hand-written", 9.0, 0.1, 1.0, 0.5, 1.0)  # nobody's to pick
    table = Measured("S", "cpu", [measured, late, by_hand], {}, {})
    write_picture(tmp_path / "speed.png", [table], FLOPS)
    axes = drawn[0].axes[1]
    line, dots, other, inside = (line.get_xydata() for line in axes.get_lines())
    assert dots.tolist() == inside.tolist() == [[1, 0.5], [100, 2.0]]  # none outside of the axes
    assert line[40] == pytest.approx([100, 2.0]) and line[-1] == pytest.approx([10_000, 51.5])
    assert other[40] == pytest.approx([100, 2.0])
    assert "dots are measured" in axes.get_xlabel()


def case(name, device="cpu", **medians):
    rows = [Timing(name, device, way, ms, 0.1, None, 0.0, 1.0) for way, ms in medians.items()]
    return Measured(name, device, rows, {}, {})


STEP, JIT = "first: Pyro, stock, SVI.step", "first: Pyro, stock, JitTrace_ELBO"
OURS = "second: NumPyro, ours"


def test_cases_stand_side_by_side_and_their_ways_within_them(tmp_path, drawn):
    write_cases(
        tmp_path / "mine.png",
        [
            case("RIGHT", **{STEP: 4.0, JIT: 2.0, OURS: 0.1}),
            case("WRONG", **{STEP: 5.0, OURS: 0.2}),  # where the traced one failed
        ],
    )
    axes = drawn[0].axes[0]
    assert axes.get_yscale() == "log" and "milliseconds" in axes.get_ylabel()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["RIGHT", "WRONG"]
    ways = {line.get_label(): line for line in axes.get_lines() if line.get_label()[0] != "_"}
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == list(ways) == [STEP, JIT, OURS]
    points = {name: line.get_xydata() for name, line in ways.items()}
    assert [list(p[:, 1]) for p in points.values()] == [[4.0, 5.0], [2.0], [0.1, 0.2]]
    for places in ([p[0, 0] for p in points.values()], [points[n][1, 0] - 1 for n in (STEP, OURS)]):
        assert places == sorted(set(places)) and places[0] > -0.5 and places[-1] < 0.5
    colours = {name: line.get_color() for name, line in ways.items()}
    assert colours[STEP] == colours[JIT] == FAMILIES["Pyro, stock"]
    assert colours[OURS] == FAMILIES["NumPyro, ours"]
    assert ways[STEP].get_marker() != ways[JIT].get_marker()
    low, high = axes.get_ylim()
    assert low < 0.1 and high > 5.0
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")


def test_the_time_of_a_step_can_be_read_where_all_are_about_as_fast(tmp_path, drawn):
    write_cases(tmp_path / "mine.png", [case("RIGHT", **{STEP: 0.31, OURS: 0.3})])
    axes = drawn[0].axes[0]
    ticks = (*axes.yaxis.get_ticklabels(which="major"), *axes.yaxis.get_ticklabels(which="minor"))
    low, high = axes.get_ylim()
    assert any(t.get_text() and low < t.get_position()[1] < high for t in ticks)


@pytest.mark.parametrize(("name", "degrees"), [("CASE", 0), ("LONG_NAME_OF_CASE", 30)])
def test_long_names_of_cases_do_not_run_into_one_another(tmp_path, drawn, name, degrees):
    write_cases(tmp_path / "mine.png", [case(f"{name}_{i}", **{STEP: 1}) for i in range(6)])
    axes = drawn[0].axes[0]
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {degrees}
