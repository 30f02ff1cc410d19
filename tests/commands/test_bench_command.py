"""`twinplate bench` from size to file: what it measures and writes, with what it runs, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
from absent import JAX_SIDE, REFUSE, TORCH_SIDE
from rich.console import Console
from tiny_workload import TINY

from twinplate.bench import fresh, terms, turns
from twinplate.bench.backend import IN_BACKGROUND, LIMIT_SIZES
from twinplate.bench.measure import Measured, Timing
from twinplate.bench.report import PYRO_REPLAYED
from twinplate.bench.workload import SIZES
from twinplate.cli import main
from twinplate.commands import bench_command
from twinplate.commands.bench_command import print_terms, run_bench, run_sizes
from twinplate.commands.bench_request import BenchRequest
from twinplate.errors import InputError

APART = "Seconds in all: of each way in a process of its own"
KEYS = {
    "size",
    "device",
    "name",
    "median_ms",
    "spread_ms",
    "ratio_to_floor",
    "compile_s",
    "peak_mb",
    "totals",
}


@pytest.fixture
def quick(monkeypatch):
    """Few rounds and steps, a tiny size for S, and as tiny products and copies."""
    import torch

    monkeypatch.setattr(turns, "ROUNDS", 3)
    monkeypatch.setattr(turns, "MOST_STEPS", 5)
    # The hand-written ways as graphs, without the minutes of a C++ compiler.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setitem(SIZES, "S", TINY)
    monkeypatch.setitem(LIMIT_SIZES, "cpu", (64, 2**10))
    # Runs apart have tests of their own; here they take a second, and a millisecond a step.
    monkeypatch.setattr(fresh, "run_apart", pretended)


def pretended(backend, way, work, marks, first=None):
    return tuple((n, 1 + n / 1e3) for n in marks)


def test_sizes_are_measured_and_written(quick, interpreted, tmp_path, capsys):
    path = tmp_path / "rows.json"
    request = BenchRequest(sizes="S", json=path, steps=7, html=tmp_path / "speed.html")
    run_bench(request, Console(width=200))
    rows = json.loads(path.read_text())
    assert all(set(row) == KEYS for row in rows)
    standard = {r["name"]: r for r in rows}
    (late,) = (name for name in standard if name.startswith(IN_BACKGROUND))
    apart = {name for name, r in standard.items() if r["totals"]}
    eager, stock = "Pyro, ours, eager", {name for name in standard if "stock" in name}
    assert apart == {"NumPyro, ours", eager, "Pyro, ours, replayed", late, *stock} and stock
    assert standard["NumPyro, ours"]["totals"][3] == [1_000, 2.0]
    ours = {"NumPyro, ours", *(f"Pyro, ours, {way}" for way in ("eager", "replayed", "compiled"))}
    assert len(standard) == len(rows) >= 14 and {"floor", *ours} < set(standard)
    assert all(r["size"] == "S" and r["device"] == "cpu" and r["median_ms"] > 0 for r in rows)
    assert all(r["peak_mb"] > 0 and r["compile_s"] >= 0 for r in rows)
    assert standard["floor"]["ratio_to_floor"] == 1
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.json", "rows.png", "speed.html"]
    page = (tmp_path / "speed.html").read_text()
    assert all(f">{name}</th>" in page for name in standard) and "For 7 steps pick" in page
    printed = capsys.readouterr().out
    assert "not measured:" not in printed
    assert "S on cpu: seconds in all" in printed and "Shortest in all" in printed
    assert APART in printed
    assert "Seconds in all, compiling included, S on cpu" in page
    for text in ("thread(s) for torch and for XLA", "Limits of cpu", "GPU: none", "For 7 steps"):
        assert text in printed


@pytest.fixture
def table(monkeypatch):
    """What is measured at any size."""
    row = Timing("S", "cpu", PYRO_REPLAYED, 2.0, 0.1, 1.0, 0.5, 1.0)
    found = Measured("S", "cpu", [row], {}, {"floor": "no compiler"})
    monkeypatch.setattr(bench_command, "_measured", lambda *given, **options: found)
    monkeypatch.setattr(bench_command, "make_workload", lambda *given: SimpleNamespace(flops=1.0))
    return found


def backend_on(*devices):
    ways = dict.fromkeys([PYRO_REPLAYED])
    return SimpleNamespace(
        devices=lambda: devices, limits=lambda device: (1.0, 1.0), routes=lambda *given: ways
    )


@pytest.mark.parametrize(
    "sizes", [{"sizes": "S"}, {"sizes": "", "features": 4, "components": 2, "items": 30}]
)
def test_who_stops_during_whole_runs_has_the_rows(table, sizes, tmp_path, monkeypatch, capsys):
    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(fresh, "run_apart", stopped)
    request = BenchRequest(json=tmp_path / "rows.json", **sizes)
    with pytest.raises(KeyboardInterrupt):
        run_sizes(request, {"pyro": backend_on("cpu")}, Console(width=200))
    (kept,) = json.loads(request.json.read_text())
    assert (kept["name"], kept["totals"]) == (PYRO_REPLAYED, [])
    assert PYRO_REPLAYED in capsys.readouterr().out


def test_a_whole_run_that_fails_is_told_once(table, monkeypatch, capsys):
    def failing(*given):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(fresh, "run_apart", failing)
    run_sizes(BenchRequest(sizes="S"), {"pyro": backend_on("cpu")}, Console(width=200))
    printed = capsys.readouterr().out
    told = f"not measured: {PYRO_REPLAYED}, in a process of its own: RuntimeError: no more memory"
    assert printed.count(told) == 1 == printed.count("not measured: floor: no compiler")


@pytest.mark.parametrize(("sizes", "is_told"), [("XL", False), ("S,XL", True)])
def test_whole_runs_are_terms_where_there_are_some(table, sizes, is_told, monkeypatch, capsys):
    """Of a processor, and XL is measured on accelerators alone."""
    monkeypatch.setattr(fresh, "run_apart", pretended)
    backends = {"pyro": backend_on("cpu", "gpu")}
    run_sizes(BenchRequest(sizes=sizes), backends, Console(width=200))
    assert (APART in capsys.readouterr().out) is is_told


def test_a_users_file_is_measured_by_the_command(quick, interpreted, tmp_path, monkeypatch, capsys):
    path = tmp_path / "case.json"
    words = ["bench", "examples/verify_port.py:RIGHT", "--steps", "50", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["twinplate", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    told = capsys.readouterr().out
    rows = json.loads(path.read_text())
    assert all(set(row) == KEYS for row in rows)
    assert {r["size"] for r in rows} == {"RIGHT"}
    names = {r["name"] for r in rows}
    pyro_ways = {"stock, SVI.step", "stock, JitTrace_ELBO", "ours, replayed", "ours, compiled"}
    numpyro_ways = {"stock, svi.update in lax.scan", "ours"}
    assert names == {
        *(f"first: Pyro, {way}" for way in pyro_ways),
        *(f"second: NumPyro, {way}" for way in numpyro_ways),
    }
    assert {r["ratio_to_floor"] for r in rows} == {None}
    assert (tmp_path / "case.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case.json", "case.png"]
    for text in ("For 50 steps pick", "Recommendation, RIGHT:", "Limits of cpu", "÷ fastest"):
        assert text in told
    printed = " ".join(told.split())
    assert (
        "same work was not verified; run: twinplate verify examples/verify_port.py:RIGHT" in printed
    )
    assert "Adam at 0.0001." in printed and APART not in printed


def test_a_framework_that_sees_no_gpu_is_named():
    backends = {
        name: SimpleNamespace(devices=lambda found=found: found)
        for name, found in {"pyro": ("cpu", "gpu"), "numpyro": ("cpu",)}.items()
    }
    console = Console(width=200, record=True)
    print_terms(backends, {}, console, apart=False)
    printed = console.export_text()
    assert "numpyro was not measured on gpu: jax sees none." in printed
    assert printed.count("was not measured on") == 1


def test_as_many_items_are_simulated_as_a_step_can_tell(monkeypatch, capsys):
    made = []
    monkeypatch.setattr(bench_command, "make_workload", lambda size, guide: made.append(size))
    table = Measured("yours", "cpu", [], {}, {})
    monkeypatch.setattr(bench_command, "_measured", lambda *given, **options: table)
    own = {"sizes": "", "features": 4, "components": 2}
    backend = SimpleNamespace(devices=lambda: ("cpu",), limits=lambda device: (1.0, 1.0))
    for items, batch_size in ((10_000_000, 256), (10_000_000, 100_000), (1000, 10)):
        request = BenchRequest(items=items, batch_size=batch_size, **own)
        run_sizes(request, {"pyro": backend}, Console(width=200))
    assert [size.num_items for size in made] == [65_536, 100_000, 1000]
    printed = capsys.readouterr().out
    assert printed.count("num_items=10000000") == 2
    assert "65,536 items are simulated" in printed and "1,000 items are" not in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "absent", "missing"),
    [("pyro", JAX_SIDE, "numpyro"), ("numpyro", TORCH_SIDE, "pyro")],
)
def test_one_framework_is_enough(tmp_path, backend, absent, missing):
    path = tmp_path / "rows.json"
    code = (
        REFUSE.format(absent=absent)
        + f"""
from rich.console import Console
from twinplate.bench import fresh, terms, turns
from twinplate.commands.bench_command import run_bench
from twinplate.commands.bench_request import BenchRequest
from pathlib import Path
turns.ROUNDS, turns.MOST_STEPS = 2, 2
backend = terms.load_bench_backends()[{backend!r}]
ours = backend.ours  # without torch's compiler, which has tests of its own and takes its time
backend.ours = lambda *given: {{n: r for n, r in ours(*given).items() if not r.compiler}}
own = dict(items=30, features=4, components=2, guide="event")
run_bench(BenchRequest(sizes="", json=Path({str(path)!r}), **own), Console())
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())
    ways = {"pyro": ["Pyro, ours, eager", "Pyro, ours, replayed"], "numpyro": ["NumPyro, ours"]}
    assert [row["name"] for row in rows] == ways[backend]
    assert all((row["size"], row["ratio_to_floor"]) == ("yours", None) for row in rows)
    assert all(row["totals"] for row in rows)
    assert f"pip install 'twinplate[{missing}]'" in done.stdout


NO_CASE = "x = 1\n"
NO_GUIDE = """
import pyro
import pyro.distributions as dist
from pyro_impl import Program
from twinplate import Case

def model():
    pyro.sample("a", dist.Normal(0.0, 1.0))

CASE = Case(Program(model), Program(model))
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "S,Q"], "--sizes names 'Q'; expected some of S, M, L, XL"),
        (["--items", "0"], "--items is 0; expected 1 or more"),
        (["--components", "-1"], "--components is -1"),
        (["--items", "10", "--batch-size", "11"], "batch_size is 11 but there are 10 items"),
        (["--guide", "mean-field"], "guide is 'mean-field'; expected 'diagonal' or"),
        (["--steps", "0"], "steps is 0"),
        (["--json", "speed.png"], "--json is speed.png; expected another name, such as speed.json"),
        (["--json", "absent/rows.json"], "expected a file in a directory that exists"),
        (["none.py"], "none.py does not exist"),
        (["no_case.py"], "no_case.py has no Case"),
        (["no_case.py", "--sizes", "S"], "a file brings its own sizes"),
        (["no_guide.py"], "has no guide: there is nothing to train"),
    ],
)
def test_bad_input_is_one_sentence(quick, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no_case.py").write_text(NO_CASE)
    (tmp_path / "no_guide.py").write_text(NO_GUIDE)
    monkeypatch.setattr(sys, "argv", ["twinplate", "bench", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("twinplate: ") and message in error


def test_without_frameworks_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(terms, "available_backends", list)
    monkeypatch.setattr("twinplate.backends._found", lambda module: False)
    with pytest.raises(InputError, match="pip install"):
        terms.load_bench_backends()


def test_threads_are_the_environments(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert terms.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert terms.threads() >= 1
