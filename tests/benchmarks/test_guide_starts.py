"""What `benchmarks/guide_starts.py` counts as diverged, and that both frameworks run it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import guide_starts
import guide_starts_models


def test_a_start_diverged_if_anything_is_not_finite_or_nothing_was_learnt():
    falling = np.linspace(9.0, 5.0, 20)
    losses = np.stack(
        [falling, falling[::-1], np.where(np.arange(20) == 3, np.nan, falling), falling]
    )
    row = guide_starts.judged("counts", "pyro", losses, np.array([True, True, True, False]))
    assert (row["starts"], row["diverged"]) == (4, 3)
    assert row["best"] == row["worst"] == pytest.approx(np.median(falling[-2:]))


def test_raw_data_are_far_from_one():
    scales, outlier = (guide_starts_models.make_data(name, 50) for name in ("scales", "outlier"))
    spreads = scales.std(0)
    assert spreads.max() / spreads.min() > 1e7
    assert (np.sort(outlier.ravel())[-2:] < [10.0, 3001.0]).all() and outlier.max() == 3000.0


@pytest.mark.parametrize("framework", [pytest.param("numpyro", marks=pytest.mark.slow), "pyro"])
def test_starts_are_trained_on_an_outlier(framework, tmp_path, monkeypatch, own_world):
    monkeypatch.setattr(guide_starts, "ITEMS", 120)
    path = tmp_path / "rows.json"
    given = ["--models", "outlier", "--frameworks", framework, "--starts", "2", "--steps", "60"]
    guide_starts.main([*given, "--json", str(path)])
    (row,) = json.loads(path.read_text())["rows"]
    assert (row["framework"], row["starts"], row["diverged"]) == (framework, 2, 0)
    assert np.isfinite(row["worst"])
