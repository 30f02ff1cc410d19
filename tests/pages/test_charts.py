"""Charts: what is drawn lies where its numbers say."""

from __future__ import annotations

import re

import numpy as np
import pytest

from twinplate.pages.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, across, up
from twinplate.pages.charts import LEVELS, Curve, bars, curves, heat_map, intervals

FLOOR, END = HEIGHT - BOTTOM, WIDTH - RIGHT


@pytest.mark.parametrize("log", [False, True])
def test_an_axis_goes_from_corner_to_corner_and_its_ticks_lie_on_it(log: bool) -> None:
    axis = Axis(0.02, 300.0, "x", log)
    ends = np.array([axis.low, axis.high])
    np.testing.assert_allclose(across(axis, ends), [LEFT, END])
    np.testing.assert_allclose(up(axis, ends), [FLOOR, TOP])
    half = np.sqrt(0.02 * 300) if log else 150.01
    assert across(axis, np.array(half)) == pytest.approx((LEFT + END) / 2)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 8 and axis.low <= min(ticks) and max(ticks) <= axis.high
    assert len({*ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1e-9), (-3e6, 5e6), (0.123, 0.124), (7, 7.5), (-1, 1)]
)
def test_there_are_a_few_ticks_whatever_the_numbers(low: float, high: float) -> None:
    assert 2 <= len(Axis.over([low, high], "x").ticks()) <= 9
    assert 1 <= len(Axis.over([abs(low) + 1e-9, high], "x", log=True).ticks()) <= 9


def test_an_axis_over_nothing_or_one_number_is_an_axis() -> None:
    for values in ([], [float("nan")], [3.0], [0.0]):
        for log in (False, True):
            axis = Axis.over(values, "x", log)
            assert axis.low < axis.high and axis.ticks()


def test_a_curve_goes_through_its_points_and_leaves_out_what_cannot_be_drawn() -> None:
    x, y = Axis(0.0, 4.0, "x"), Axis(1.0, 100.0, "y", log=True)
    values = np.array([1.0, 10.0, np.nan, -1.0, 1e9])
    picture = curves("c", x, y, [Curve(np.arange(5.0), values, 0)])
    path = re.search(r'class="line"[^>]* d="M([^"]+)"', picture)[1]
    points = np.array([[float(v) for v in pair.split(",")] for pair in path.split()])
    middle = (TOP + FLOOR) / 2
    expected = [
        (LEFT, FLOOR),
        (LEFT + (END - LEFT) / 4, middle),
        (END, TOP),
    ]  # the last one at the edge
    np.testing.assert_allclose(points, expected, atol=0.06)


def test_the_name_of_a_level_stands_at_the_end_that_curves_are_further_from() -> None:
    x, y, steps = Axis(0.0, 100.0, "x"), Axis(0.0, 10.0, "y"), np.linspace(0, 100, 50)
    for values, left in ((np.linspace(10, 2, 50), True), (np.linspace(2, 10, 50), False)):
        picture = curves("c", x, y, [Curve(steps, values, 0)], [("best known", 2.0)])
        place, at = re.search(
            r'class="said( end)?" x="([^"]+)" y="[^"]+">best known', picture
        ).groups()
        assert (place is None) == left and float(at) == (LEFT + 4 if left else END - 2)


def test_a_small_heat_map_has_its_numbers_in_the_cells() -> None:
    matrix = np.array([[1.0, -0.254], [0.5, 1.0]])
    found = re.findall(r'<text class="said middle"[^>]*>([^<]+)<', heat_map("h", matrix, "t"))
    assert found == ["1", "-.25", ".50", "2"]
    assert "middle" not in heat_map("h", np.eye(7), "t")


def test_a_heat_map_has_a_cell_for_each_pair_as_strong_as_its_number() -> None:
    matrix = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, -1.0], [0.0, -1.0, 1.0]])
    found = re.findall(
        r'fill="var\(--(plus|minus)\)" opacity="([^"]+)" d="([^"]+)"', heat_map("h", matrix, "t")
    )
    assert [(sign, float(opacity)) for sign, opacity, _ in found] == [("minus", 1.0), ("plus", 0.5)]
    assert found[0][2] == "M2 1h1v1h-1zM1 2h1v1h-1z" and found[1][2] == "M1 0h1v1h-1zM0 1h1v1h-1z"
    large = np.clip(np.random.default_rng(0).normal(size=(60, 60)), -1, 1)
    assert len(heat_map("h", large, "t")) < 80_000 and LEVELS == 20


def test_rows_show_the_end_of_a_long_name_and_escape_it() -> None:
    name = "a" * 40 + "<b>"
    x = Axis(0.0, 1.0, "x")
    row = np.array([0.2]), np.array([0.5]), np.array([0.8]), 0
    for picture in (bars("b", x, [(name, [0.5], 0)]), intervals("i", x, [name], [row])):
        assert "aaa&lt;b&gt;</text>" in picture and "…aaa" in picture and "a" * 35 not in picture
