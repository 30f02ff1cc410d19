"""What benchmarks of time take in turns, and what they say of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_benchmarks import BACKENDS, SIZE

from numpyro_impl import quick_compilation
from twinplate.bench.workload import make_workload
from twinplate.data import readers

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import batches
import checkpoints
import clipping
import compile_effort
import devices as spread
import many_components
import reading
import restarts
import triangle
import verify


def test_the_seconds_of_a_verdict_are_those_between_its_marks():
    marks = [("import", 0.0)]
    texts = [
        "looking for sites",
        "draw 0, float64",
        "draw 0, float32",
        "draw 0, perturbed0",
        "draw 1, float64",
    ]
    for which in ("first", "second"):
        for text in texts:
            verify.marker(marks)(f"{which} program, {text}")
    phases = [phase for phase, _ in marks]
    assert phases[1:6] == ["Pyro"] * 5
    assert phases[6:] == ["NumPyro's sites", "first double", "first single", "rest", "rest"]
    timed = [(phase, float(i)) for i, phase in enumerate(phases)]
    expected = {"import": 1.0, "Pyro": 5.0, "rest": 4.0}
    assert verify.seconds(timed, 13.0) == dict.fromkeys(verify.PHASES, 1.0) | expected


@pytest.mark.slow
def test_restarts_are_timed_beside_single_fits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(restarts, "Size", lambda: SIZE)
    monkeypatch.setattr(restarts, "ROUNDS", 2)
    path = tmp_path / "restarts.json"
    restarts.main(["--fits", "1", "2", "--steps", "3", f"--json={path}"])
    rows = json.loads(path.read_text())["rows"]
    assert [row["fits"] for row in rows] == [1, 2]
    for row in rows:
        assert {len(values) for values in row["seconds"].values()} == {restarts.ROUNDS}
        shares = np.divide(row["seconds"]["together"], row["seconds"]["apart"])
        assert row["median"] == np.median(shares) and (shares > 0).all()
    assert "R fits in one program" in capsys.readouterr().out


def test_cut_gradients_are_timed_beside_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(clipping, "SIZES", {"S": SIZE})
    monkeypatch.setattr(clipping, "STEPS", {"S": 2})
    path = tmp_path / "clipping.json"
    clipping.main(["--rounds", "2", f"--json={path}"])
    rows = json.loads(path.read_text())["rows"]
    assert [(row["way"], row["framework"]) for row in rows] == list(clipping.MAKERS)
    for row in rows:
        assert row["low"] <= row["median"] <= row["high"] and min(row["ms"].values()) > 0


@pytest.mark.parametrize("framework", ["numpyro", "pyro"])
def test_beside_a_fit_stands_one_that_cuts_nothing(monkeypatch, framework):
    module = {"numpyro": "numpyro_impl.training.loop", "pyro": "pyro_impl.training.carry"}[
        framework
    ]
    monkeypatch.setattr(f"{module}.CLIP", 1e-6)  # nearly all of each gradient is cut
    uncut, cut = (
        clipping.fit_steps(make_workload(SIZE), framework, clip)(3) for clip in (None, 5.0)
    )
    assert (uncut != cut).all()


def test_fits_compiled_quickly_are_timed_beside_others(tmp_path, monkeypatch):
    monkeypatch.setattr(
        quick_compilation, "SHORT", quick_compilation.SHORT
    )  # which the benchmark changes
    monkeypatch.setattr(compile_effort, "PROBLEMS", {"tiny": SIZE})
    path = tmp_path / "effort.json"
    compile_effort.main(["--steps", "2", "--rounds", "2", f"--json={path}"])
    (row,) = json.loads(path.read_text())["rows"]
    assert row["low"] <= row["median"] <= row["high"] and min(row["seconds"].values()) > 0


def test_steps_row_by_row_are_timed_beside_others(tmp_path, monkeypatch):
    monkeypatch.setattr(many_components, "LIMITS", {"rows": 2, "before": 2**30})
    for twin in ("pyro", "numpyro"):
        monkeypatch.setattr(f"{twin}_impl.programs.triangle.ROWS_FROM", 1)
    path = tmp_path / "many.json"
    many_components.main(["--sizes", "4:16:8", "--rounds", "2", f"--json={path}"])
    rows = json.loads(path.read_text())["rows"]
    assert [row["way"] for row in rows] == ["numpyro", "pyro, eager", "pyro, replayed"]
    for row in rows:
        assert row["low"] <= row["median"] <= row["high"] and min(row["ms"].values()) > 0


def test_the_products_of_a_triangle_are_timed_beside_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr(triangle, "ROUNDS", 2)
    path = tmp_path / "triangle.json"
    triangle.main(["--components", "4", "--batch-size", "8", f"--json={path}"])
    rows = json.loads(path.read_text())["rows"]
    assert [row["framework"] for row in rows] == ["NumPyro", "Pyro, eager"]
    assert all(row[form]["median"] > 0 for row in rows for form in ("packed", "rows"))


def test_batches_of_an_iterator_are_timed_beside_a_loop_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "SIZES", {"S": SIZE})
    monkeypatch.setattr(batches, "STEPS", {"S": 3})
    path = tmp_path / "batches.json"
    batches.main(["--sizes", "S", "--rounds", "2", f"--json={path}"])
    (row,) = json.loads(path.read_text())["rows"]
    assert row["low"] <= row["median"] <= row["high"] and row["tracing_s"] > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_checkpoint_is_timed_with_what_a_fit_keeps(monkeypatch, backend):
    monkeypatch.setattr(checkpoints, "LOSSES", 10)
    monkeypatch.setitem(checkpoints.SIZES, "S", SIZE)
    row = checkpoints.measure(backend, "S", rounds=2)
    assert row["seconds"] > 0 and row["share"] == row["seconds"] / 30 and row["reading"] > 0


def test_reading_is_timed_for_every_format(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAPPED_BYTES", 2**26)  # what the script changes comes back
    path = tmp_path / "reading.json"
    reading.main(["--items", "300", "--features", "2", "--rounds", "2", f"--json={path}"])
    rows = json.loads(path.read_text())["rows"]
    assert [row["format"] for row in rows] == ["npy", "parquet", "zarr"]
    assert rows[0]["ratio"] == 1 and all(row["seconds"] > 0 for row in rows)


def test_devices_send_what_a_ring_sends():
    """Of every array in the loop of steps, whatever stands outside it."""
    body = 'metadata={op_name="jit(loop)/while/body/add"}'
    text = f"""
    %a = (f32[3,5]{{1,0}}, /*index=1*/f32[]) all-reduce(%b, %c), channel_id=1, {body}
    %d = f64[8]{{0}} all-gather(%e), dimensions={{0}}, {body}
    %f = f64[100]{{0}} all-reduce(%g), metadata={{op_name="jit(loop)/isfinite"}}
    %h = f32[3,5]{{1,0}} get-tuple-element(%a), index=0, {body}
    """
    assert spread.bytes_sent(text, 4) == 2 * 3 / 4 * 64 + 3 / 4 * 64


def test_one_device_sends_nothing(monkeypatch):
    monkeypatch.setitem(spread.SIZES, "S", SIZE)
    monkeypatch.setattr(spread, "NUMBERS", (1,))
    monkeypatch.setattr(spread, "STEPS", {"S": 3})
    (row,) = spread.measure("S", "float32", rounds=2)
    assert (row["ratio"], row["bytes"], row["bound"]) == (1, 0, 0)
