"""Machine code is made by another process, and counts from a step that neither clock nor cache decides.

Tests that compile share one tiny program, and the folder in which torch keeps what it makes of it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyro
import pytest
import torch
from compiled_cases import ITEMS, batches
from compiled_runs import guide, losses, traced
from compiler_runs import WAIT, gone, is_alive, job_of, model, started, with_machine_code
from pyro.infer import SVI, Trace_ELBO

import pyro_impl
from pyro_impl import CompiledSVI, EagerWarning
from pyro_impl.compiled import compilation
from pyro_impl.compiled.compiler import _alone
from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.graph_text import read_graph, text_of, write_graph
from pyro_impl.compiled.settings import set_settings, settings
from twinplate import InputError, TrainingConfig
from twinplate.files import write_text

pytestmark = pytest.mark.usefixtures("own_world")

SWITCHED = "Steps from {} on are machine code: they differ by rounding."


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    """Where packages are kept, with none of them; the compiler's other files are where they always are."""
    monkeypatch.setattr(compilation, "packages", lambda: tmp_path)
    return tmp_path


# --- compiled -------------------------------------------------------------------------------------


def test_a_cold_and_a_warm_cache_give_the_same_bits_and_switch_at_the_same_step(empty):
    cold, parameters, svi = with_machine_code()
    (package,) = empty.glob("*.pt2")
    made = package.stat().st_mtime_ns, package.read_bytes()
    assert svi.notes == [SWITCHED.format(8)]
    warm, again, warm_svi = with_machine_code()
    assert warm_svi.notes == svi.notes and warm == cold
    assert all(torch.equal(again[name], parameters[name]) for name in parameters)
    assert package.read_bytes() == made[1] and [*empty.glob("*.pt2")] == [package]
    exact, _ = losses(SVI, model, steps=12)
    assert cold[:7] == exact[:7] and cold == pytest.approx(exact, rel=1e-12)
    assert cold[8:] != exact[8:]  # or nothing was switched

    # Other data of the same shapes.
    x, y = batches(ITEMS)[0]
    other = lambda i: (x + 0.5, 2 * y)
    found, _, _ = with_machine_code(arguments=other)
    assert found == pytest.approx(losses(SVI, model, steps=12, arguments=other)[0], rel=1e-12)
    assert [*empty.glob("*.pt2")] == [package]


SCRIPT = """
import pyro, torch, sys
sys.path.insert(0, {tests!r})
from compiled_cases import ITEMS, batches
from compiled_runs import guide, model_with
from pyro.infer import Trace_ELBO
from pyro_impl import CompiledSVI
torch.set_default_dtype(torch.float64)
pyro.set_rng_seed(3)
svi = CompiledSVI(
    model_with(lambda *_: 1.0), guide, pyro.optim.Adam({{"lr": 0.02}}), Trace_ELBO(), machine_code=8
)
print([svi.step(*batches(ITEMS)[0]) for _ in range(12)], svi.notes)
"""


@pytest.mark.slow
def test_two_scripts_at_once_need_no_guard_and_find_one_package(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    folder = tmp_path / "torch"
    world = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder)}
    command = [sys.executable, "-W", "error::pyro_impl.EagerWarning", str(script)]
    both = [subprocess.Popen(command, env=world, stdout=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate()[0].decode() for process in both]
    assert said[0] == said[1] and SWITCHED.format(8) in said[0]
    assert len([*folder.glob("packages/*.pt2")]) == 1


# --- without compiling ----------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, 2, 5, 8])
def test_steps_before_are_those_of_svi_to_the_bit(interpreted, first):
    exact, _ = losses(SVI, model, steps=12)
    found, _, svi = with_machine_code(first)
    at = max(int(first), 2)  # the first step is Pyro's
    assert svi.notes == [SWITCHED.format(at)]
    assert found[: at - 1] == exact[: at - 1] and found == pytest.approx(exact, rel=1e-12)


def test_a_step_that_never_comes_is_not_waited_for(compiler):
    compiler(WAIT)
    exact, _ = losses(SVI, model, steps=6)
    found, _, svi = with_machine_code(7, steps=6)
    assert found == exact and svi.notes == []


def test_who_lets_go_of_the_steps_ends_the_process(compiler):
    compiler(WAIT)
    _, _, svi = with_machine_code(100)
    process = started(job_of(svi))
    assert is_alive(process)
    del svi
    gc.collect()
    assert gone(process)


def test_one_process_at_a_time(compiler):
    compiler(WAIT)
    runs = [with_machine_code(100, steps=3)[2] for _ in range(2)]
    jobs = [*map(job_of, runs)]
    started(jobs[0])
    time.sleep(0.5)
    assert [job._process is None for job in jobs] == [False, True]
    jobs[0].end()
    jobs[0]._thread.join()
    started(jobs[1])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with code -9"),
        ("print('cannot'); raise SystemExit(1)", "cannot"),
    ],
)
def test_a_process_that_fails_leaves_the_replay_going(compiler, code, reason):
    compiler(code)
    exact, _ = losses(SVI, model, steps=12)
    with pytest.warns(EagerWarning, match=f"without machine code: .*{reason}") as caught:
        found, _, svi = with_machine_code()
    assert found == exact and svi.notes == [] and not svi._eager
    assert len([w for w in caught if w.category is EagerWarning]) == 1


def test_a_package_that_is_damaged_is_made_again(empty, compiler):
    compiler("print('made again'); raise SystemExit(1)")
    with pytest.warns(EagerWarning, match="made again"):
        with_machine_code()
    (request,) = empty.glob("*.json")
    package = request.with_suffix(".pt2")
    package.write_bytes(b"PK, and no more of it")
    with pytest.warns(EagerWarning, match="made again"):
        with_machine_code()
    assert not package.exists()


def test_python_that_cannot_be_started(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.warns(EagerWarning, match="no process could be started to compile"):
        with_machine_code()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="processes are looked up there")
@pytest.mark.parametrize(
    "sign", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_the_compiler_ends_with_its_caller(sign, tmp_path):
    """However that ends: here while the process that compiles imports torch."""
    code = f"""
from pathlib import Path
import time
from pyro_impl.compiled.compilation import _Job
job = _Job(Path({str(tmp_path)!r}), "a")
while job._process is None:
    time.sleep(0.01)
print(job._process.pid, flush=True)
time.sleep(60)
"""
    # The graph is another one's, so that the process cannot finish.
    holder = f"""
import fcntl, time
file = open({str(tmp_path / "a.lock")!r}, "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(120)
"""
    held = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE)
    assert held.stdout.readline()
    caller = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        process = int(caller.stdout.readline())
        assert is_alive(process)
        caller.send_signal(sign)
        caller.wait()
        for _ in range(300):  # it listens once it has started
            if not is_alive(process):
                break
            time.sleep(0.1)
        assert not is_alive(process)
    finally:
        held.kill()
        held.wait()
        caller.stdout.close()
        held.stdout.close()


def test_of_two_that_compile_the_same_graph_one_waits(tmp_path):
    """Though the second caller has put its own request in the place of the first one's."""
    pytest.importorskip("fcntl")

    def compile_it():
        with _alone(tmp_path, "a"):
            pass

    write_text(tmp_path / "a.json", "{}")
    with ThreadPoolExecutor() as pool:
        with _alone(tmp_path, "a"):
            write_text(tmp_path / "a.json", "{}")
            other = pool.submit(compile_it)
            assert wait([other], timeout=0.5).not_done
        other.result(timeout=10)


@pytest.mark.parametrize("number", [-1, 2.5, "yes"])
def test_what_is_no_number_of_a_step_is_refused(number):
    with pytest.raises(InputError, match="expected the number of the step"):
        CompiledSVI(model, guide, pyro.optim.Adam({}), Trace_ELBO(), machine_code=number)


def test_a_tensor_read_in_two_ways_is_not_compiled():
    whole = torch.zeros(4)
    with pytest.raises(CannotCompileError, match="in two ways"):
        compilation._check_memory([whole, whole[:2]], [whole])
    compilation._check_memory([whole, torch.ones(2)], [whole])


@pytest.fixture
def own_settings():
    before = settings()
    yield
    set_settings(before)


@pytest.mark.usefixtures("own_settings")
@pytest.mark.parametrize(
    "change",
    [
        lambda: torch.set_num_threads(torch.get_num_threads() + 1),
        lambda: torch.set_default_dtype(torch.float32),
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        lambda: setattr(torch.utils.deterministic, "fill_uninitialized_memory", False),
    ],
)
def test_the_process_that_compiles_has_the_settings_of_its_caller(monkeypatch, change):
    """And what was compiled with others is not taken."""
    monkeypatch.setattr(
        compilation, "Compilation", lambda text, written: SimpleNamespace(result=text)
    )
    a = torch.ones(3, dtype=torch.float64)
    low = traced(lambda a: (a.sum(),), [a])
    request = lambda: compilation.begin_compiling(low, [a], [])
    before, text = settings(), request()
    change()
    changed, other = settings(), request()
    assert changed != before and other != text and request() == other
    set_settings(before)
    assert request() == text
    set_settings(json.loads(other)["settings"])
    assert settings() == changed


@pytest.mark.parametrize("what", ["version", "environment"])
def test_so_it_is_with_what_else_machine_code_depends_on(monkeypatch, what):
    monkeypatch.setattr(
        compilation, "Compilation", lambda text, written: SimpleNamespace(result=text)
    )
    a = torch.ones(3, dtype=torch.float64)
    low = traced(lambda a: (a.sum(),), [a])
    text = compilation.begin_compiling(low, [a], [])
    if what == "version":
        monkeypatch.setattr(compilation, "__version__", "another")
    else:
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert compilation.begin_compiling(low, [a], []) != text


def test_a_graph_is_the_same_after_it_was_written_down():
    a, b = torch.randn(4, 3), torch.randn(3)

    def function(a, b):
        noise = torch.randn(4, dtype=torch.float32).double()
        parts = torch.cat([a, a * float("inf")], -1).split([2, 4], -1)
        return parts[0].sum(-1) * noise + b[:2].sum() ** 2, parts[1].mT

    low = traced(function, [a, b])
    inputs = [*low.tensors, a, b]
    tree = json.loads(text_of(write_graph(low.module, inputs)))
    module, kinds = read_graph(tree)
    for given, kind in zip(inputs, kinds, strict=True):
        assert (given.shape, given.stride(), given.dtype) == (kind.shape, kind.stride(), kind.dtype)
    torch.manual_seed(0)
    expected = low.module(*inputs)
    torch.manual_seed(0)
    found = module(*inputs)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_a_fit_switches_at_its_own_step(problem, interpreted):
    x, program, _ = problem(20)
    config = lambda steps: TrainingConfig(steps, 5, 0.01, device="cpu", precision="float64")
    exact = pyro_impl.fit(x, program, config(12))
    whole = pyro_impl.fit(x, program, config(12), machine_code=8)
    assert (exact.losses[:7] == whole.losses[:7]).all()
    np.testing.assert_allclose(whole.losses, exact.losses, rtol=1e-12)
    assert whole.notes == (SWITCHED.format(8),)
    last = pyro_impl.fit(x, program, config(12), machine_code=12)
    assert last.notes == (SWITCHED.format(12),)
    none = pyro_impl.fit(x, program, config(12), machine_code=13)
    assert (none.losses == exact.losses).all() and none.notes == ()
