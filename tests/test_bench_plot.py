"""The benchmark's picture: what is drawn, on which axes."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate.bench import FLOOR, Measured, Row
from twinplate.bench_plot import write_picture

figure = pytest.importorskip("matplotlib.figure")
FLOPS = {"S": 10**7, "M": 10**9}


def measured(size, **medians):
    rows = [Row(size, "cpu", name, ms, 0.1, 1.0, 0.0, 1.0) for name, ms in medians.items()]
    return Measured(size, "cpu", rows, {}, {}, limit_ms=medians[FLOOR] / 2)


def test_time_against_work_on_logarithmic_axes_with_the_floor_and_the_limit(tmp_path, monkeypatch):
    drawn = []
    save = figure.Figure.savefig

    def kept(self, *args, **kwargs):
        drawn.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(figure.Figure, "savefig", kept)
    tables = [
        measured("M", **{FLOOR: 10.0, "NumPyro, ours": 12.0, "Pyro, stock": 30.0}),
        measured("S", **{FLOOR: 0.5, "NumPyro, ours": 0.75}),  # where stock failed
    ]
    write_picture(tmp_path / "speed.png", tables, FLOPS)
    (axes,) = drawn[0].axes
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
