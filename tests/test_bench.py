"""The benchmark compares equal work, its statistics are right, and it says what to pick.

Nothing here asserts a time: what is fast enough is `twinplate bench`'s own to say.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from test_absent_framework import JAX_SIDE, REFUSE, TORCH_SIDE

from pyro_impl.capture import CannotCompileError
from twinplate import bench
from twinplate.bench import Limits
from twinplate.bench_command import BenchRequest, run_bench
from twinplate.bench_report import TARGETS
from twinplate.cli import main
from twinplate.errors import InputError
from twinplate.timing import Interval, Route, interleave, median_interval, ratio
from twinplate.workload import SIZES, Size, filled_order, make_workload, reference_loss

TINY = Size(num_items=64, num_features=6, num_components=4, batch_size=16, hidden_width=8)
KEYS = {
    "size",
    "device",
    "name",
    "median_ms",
    "spread_ms",
    "ratio_to_floor",
    "compile_s",
    "peak_mb",
}
ROOMS = ("pyro", "numpyro")


@pytest.fixture(scope="module")
def work():
    """Tiny, with a rate at which three steps of Adam make a difference."""
    return replace(make_workload(TINY), rate=bench.CHECKED_RATE)


@pytest.fixture(scope="module")
def rooms():
    return {name: import_module(f"{name}_impl.bench") for name in ROOMS}


@pytest.fixture
def quick(monkeypatch):
    """Few rounds and steps, and a tiny size for S."""
    monkeypatch.setattr(bench, "ROUNDS", 3)
    monkeypatch.setattr(bench, "MOST_STEPS", 5)
    monkeypatch.setitem(SIZES, "S", TINY)


def exact_routes(rooms, work):
    return {n: r for room in rooms.values() for n, r in room.routes(work, "cpu").items() if r.exact}


# --- equal work


def test_every_way_to_train_does_the_same_work(rooms, work):
    """Same parameters, mini-batches and noise: the same losses while Adam moves the parameters."""
    chunk = work.chunk(4, matched=True)
    losses = {name: route.start()(chunk) for name, route in exact_routes(rooms, work).items()}
    families = {name.rsplit(",", 1)[0] for name in losses}
    assert {"NumPyro, stock", "JAX, hand-written", "torch, hand-written"} <= families
    assert {"NumPyro", "Pyro, ours", "Pyro, stock"} <= families
    first = reference_loss(work, work.x[chunk.indices[0]], chunk.noise["a_aux"][0, 0])
    for name, found in losses.items():
        np.testing.assert_allclose(found[0], first, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(found, losses["NumPyro, ours"], rtol=1e-5, err_msg=name)


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("form", ["packed", "rows"])
def test_compiled_torch_does_what_eager_torch_does(work, form):
    handwritten = import_module("pyro_impl.handwritten")
    chunk = work.chunk(4, matched=True)
    eager = handwritten.start(work, "packed")(chunk)
    compiled = handwritten.start(work, form, compiled=True)(chunk)
    np.testing.assert_allclose(compiled, eager, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:training runs eagerly")
def test_eager_steps_are_not_timed_as_compiled_ones(rooms, work, monkeypatch):
    """Where the memory holds a mini-batch only in blocks, the compiled way does not start."""
    monkeypatch.setattr("twinplate.memory.fitting", lambda *_: 4)
    ways = rooms["pyro"].ours(work, "cpu")
    with pytest.raises(UserWarning, match="training runs eagerly"):
        ways["Pyro, ours, compiled"].start()
    ways["Pyro, ours, eager"].start()


@pytest.mark.filterwarnings("ignore:CompiledSVI runs eagerly")
def test_steps_that_cannot_be_compiled_are_not_timed_as_compiled_ones(rooms, work, monkeypatch):
    def refuse(*_):
        raise CannotCompileError("of this test")

    monkeypatch.setattr("pyro_impl.compiled_svi.capture", refuse)
    run = rooms["pyro"].ours(work, "cpu")["Pyro, ours, compiled"].start()
    with pytest.raises(UserWarning, match="runs eagerly: of this test"):
        run(work.chunk(2))


def test_the_reference_loss_is_the_closed_form_on_average(work):
    """Mean over noise: -(log evidence - KL to the exact posterior), per item."""
    x = work.x[work.chunk(1).indices[0]]
    generative = work.program.generative
    guide = import_module("pyro_impl").posterior(x, work.program, work.params)
    exact = generative.log_evidence(x) - generative.kl_to_posterior(x, guide)
    expected = -exact.mean()
    rng = np.random.default_rng(0)
    draws = [reference_loss(work, x, rng.standard_normal((16, 4))) for _ in range(2000)]
    error = np.std(draws) / math.sqrt(len(draws))
    assert abs(np.mean(draws) - expected) < 4 * error
    assert error < 0.01 * abs(expected)


def test_the_check_before_timing_finds_other_work(rooms, work):
    routes = exact_routes(rooms, work)
    right = {n: routes[n] for n in ("torch, hand-written, eager", "Pyro, stock, SVI.step")}
    hand = import_module("pyro_impl.handwritten")

    def slow_adam(chunk):
        run = routes["torch, hand-written, eager"].start()
        chunk = chunk.__class__(chunk.first, chunk.indices, 0.5 * chunk.rates, chunk.noise)
        return run(chunk)

    def first_batch_only(chunk):
        indices = np.repeat(chunk.indices[:1], len(chunk.indices), 0)
        run = routes["torch, hand-written, eager"].start()
        return run(chunk.__class__(chunk.first, indices, chunk.rates, chunk.noise))

    wrong = {
        "no triangle": Route(lambda: hand.start(work, "floor")),
        "half the rate": Route(lambda: slow_adam),
        "the same batch": Route(lambda: first_batch_only),
        "no number": Route(lambda: lambda chunk: np.full(len(chunk.rates), np.nan)),
    }
    for name, route in wrong.items():
        found = bench.check_exact(work, {**right, name: route}, print)
        assert list(found) == [name], name
        assert "other work" in found[name]


def test_a_first_loss_out_of_reach_is_told(work):
    chunk = work.chunk(1, matched=True)
    loss = reference_loss(work, work.x[chunk.indices[0]], chunk.noise["a_aux"][0, 0])
    given = {"right": loss, "low": 0.1 * loss, "none": math.nan}
    assert list(bench.check_expected(work, given)) == ["low", "none"]


@pytest.mark.parametrize("k", [1, 2, 3, 8, 9])
def test_the_filled_triangle_is_the_scattered_one(k):
    """Against an entry by entry construction, in both frameworks' scatters and JAX's fill."""
    rng = np.random.default_rng(k)
    flat = rng.normal(size=(3, k * (k + 1) // 2)).astype(np.float32)
    tril = np.zeros((3, k, k))
    tril[:, range(k), range(k)] = np.log1p(np.exp(flat[:, :k] + np.log(np.e - 1)))
    position = k
    for row in range(k):
        for column in range(row):
            tril[:, row, column] = flat[:, position]
            position += 1
    jax_hand, torch_hand = (import_module(f"{b}_impl.handwritten") for b in ("numpyro", "pyro"))
    torch = import_module("torch")
    found = [
        jax_hand.filled(flat[:, filled_order(k)], k),
        jax_hand.scatter(flat, k),
        torch_hand.scatter(torch.tensor(flat), k),
    ]
    for values in found:
        np.testing.assert_allclose(np.asarray(values), tril, rtol=1e-5, atol=1e-6)
    assert sorted(filled_order(k)) == list(range(k * (k + 1) // 2))


def test_the_operations_are_those_that_torch_counts(work):
    """The floor's products are the encoder's and the likelihood's, and no others."""
    counter = import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
    run = import_module("pyro_impl.handwritten").start(work, "floor")
    with counter:
        run(work.chunk(1))
    assert counter.get_total_flops() == work.flops


# --- timing


def test_blocks_take_turns_in_random_order():
    calls = []
    blocks = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    seconds = interleave(blocks, 20, np.random.default_rng(0))
    rounds = ["".join(calls[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(turn) == list("abc") for turn in rounds)
    assert len(set(rounds)) > 3
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 20)


@pytest.mark.parametrize(("n", "k"), [(25, 8), (20, 6), (9, 2), (6, 1), (5, 1), (1, 1)])
def test_the_interval_of_a_median_is_that_of_the_tables(n, k):
    """k of Conover's table of the sign test's intervals: the k-th smallest and largest at 95 %."""
    values = np.random.default_rng(0).permutation(n) + 1.0
    found = median_interval(values)
    assert found == Interval((n + 1) / 2, k, n + 1 - k)
    if n >= 6:
        assert stats.binom.cdf(n - k, n, 0.5) - stats.binom.cdf(k - 1, n, 0.5) >= 0.95
        assert stats.binom.cdf(n - k - 1, n, 0.5) - stats.binom.cdf(k, n, 0.5) < 0.95


def test_a_busy_neighbour_cancels_in_the_ratio():
    load = np.random.default_rng(0).uniform(1, 5, 25)
    assert ratio(3.0 * load, 2.0 * load) == Interval(1.5, 1.5, 1.5)


def test_a_route_that_raises_does_not_stop_the_others(rooms, work):
    def broken():
        raise RuntimeError("no compiler\nand more")

    routes = {
        "broken": (rooms["pyro"], Route(broken)),
        "sound": (rooms["pyro"], exact_routes(rooms, work)["torch, hand-written, eager"]),
    }
    started, failed = bench.begin_all(routes, work.chunk(2), "cpu", print)
    assert list(started) == ["sound"]
    assert failed == {"broken": "RuntimeError: no compiler"}


@pytest.mark.parametrize("backend", ROOMS)
def test_memory_is_what_a_step_allocates(rooms, backend):
    """Ten times the batch takes about ten times as much; at least the encoder's output is held."""
    peaks = []
    for batch_size in (500, 5000):
        work = make_workload(Size(5000, 6, 4, batch_size, 8))
        name = {"pyro": "torch, hand-written, eager", "numpyro": "JAX, hand-written, scatter"}
        route = rooms[backend].routes(work, "cpu")[name[backend]]
        peaks.append(rooms[backend].begin(route, work.chunk(2), "cpu").working_mb)
    outputs = 5000 * (4 + 10) * 4 / 1e6
    assert outputs < peaks[1] < 40 * outputs
    assert 5 < peaks[1] / peaks[0] < 20


def test_every_target_names_rows_that_exist(rooms, work):
    names = {name for room in rooms.values() for name in room.routes(work, "cpu")}
    named = {name for target in TARGETS for name in (target.numerator, target.denominator)}
    assert {n for n in named if not any(k.startswith(n) for k in names)} == set()
    wanted = {size for target in TARGETS for size in target.bounds}
    assert wanted == {"S", "M", "L"}


# --- the whole path


def test_sizes_are_measured_and_written(quick, tmp_path, capsys):
    path = tmp_path / "rows.json"
    request = BenchRequest(sizes="S", json=path, steps=7)
    run_bench(request, Console(width=200))
    rows = json.loads(path.read_text())
    assert all(set(row) == KEYS for row in rows)
    standard = {r["name"]: r for r in rows}
    ours = {"NumPyro, ours", "Pyro, ours, eager", "Pyro, ours, compiled"}
    assert len(standard) == len(rows) >= 14 and {"floor", *ours} < set(standard)
    assert all(r["size"] == "S" and r["device"] == "cpu" and r["median_ms"] > 0 for r in rows)
    assert all(r["peak_mb"] > 0 and r["compile_s"] >= 0 for r in rows)
    assert standard["floor"]["ratio_to_floor"] == 1
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.json", "rows.png"]
    printed = capsys.readouterr().out
    assert "not measured:" not in printed
    for text in ("thread(s) for torch and for XLA", "Limits of cpu", "GPU: none", "For 7 steps"):
        assert text in printed


def test_a_users_file_is_measured_by_the_command(tmp_path):
    path = tmp_path / "case.json"
    words = ["bench", "examples/verify_port.py:RIGHT", "--steps", "50", "--json", str(path)]
    code = "import sys; from twinplate.cli import main; sys.argv[1:] = %r; main()" % words  # noqa: UP031
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())
    assert all(set(row) == KEYS for row in rows)
    assert {r["size"] for r in rows} == {"RIGHT"}
    names = {r["name"] for r in rows}
    pyro_ways = {"first: Pyro, SVI", "first: Pyro, CompiledSVI"}
    assert names == {*pyro_ways, "second: NumPyro, svi.update in lax.scan"}
    assert "For 50 steps pick" in done.stdout


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
from twinplate import bench
from twinplate.bench_command import BenchRequest, run_bench
from pathlib import Path
bench.ROUNDS, bench.MOST_STEPS = 2, 2
room = bench.load_rooms()[{backend!r}]
ours = room.ours  # without torch's compiler, which has tests of its own and takes its time
room.ours = lambda *given: {{n: r for n, r in ours(*given).items() if not r.compiler}}
own = dict(items=30, features=4, components=2, guide="event")
run_bench(BenchRequest(sizes="", json=Path({str(path)!r}), **own), Console())
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(path.read_text())
    assert row["name"] == {"pyro": "Pyro, ours, eager", "numpyro": "NumPyro, ours"}[backend]
    assert (row["size"], row["ratio_to_floor"]) == ("yours", None)
    assert f"pip install 'twinplate[{missing}]'" in done.stdout


def test_each_half_has_a_floor_of_its_own(rooms, work):
    assert all(bench.FLOOR in room.routes(work, "cpu") for room in rooms.values())


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
        (["--json", "absent/rows.json"], "expected a file in a directory that exists"),
        (["none.py"], "none.py does not exist"),
        (["no_case.py"], "no_case.py has no Case"),
        (["no_case.py", "--sizes", "S"], "a file brings its own sizes"),
        (["no_guide.py"], "has no guide: there is nothing to train"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys, words, message):
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
    monkeypatch.setattr(bench, "available_backends", list)
    monkeypatch.setattr("twinplate.backends._found", lambda module: False)
    with pytest.raises(InputError, match="pip install"):
        bench.load_rooms()


def test_the_limit_is_products_and_adam_one_after_the_other(work):
    limits = Limits(flops=work.flops / 2e-3, bytes=7 * 4 * work.num_parameters / 5e-3)
    assert limits.step_ms(work) == pytest.approx(7.0)
    assert Limits(2.0, 3.0).better(Limits(1.0, 5.0)) == Limits(2.0, 5.0)


def test_threads_are_the_environments(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert bench.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert bench.threads() >= 1
