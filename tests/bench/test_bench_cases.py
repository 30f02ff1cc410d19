"""`twinplate bench FILE.py`: how a user's own programs are run, and how what they raise is told."""

from __future__ import annotations

import time
from importlib import import_module
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as dist
import pytest
import torch
from jax import random

from numpyro_impl import CompiledSVI
from numpyro_impl import Program as NumpyroProgram
from pyro_impl import Program
from twinplate import Case
from twinplate.bench import measure, turns
from twinplate.bench.backend import CASE_RATE, Route, Started
from twinplate.bench.workload import SEED
from twinplate.errors import InputError
from twinplate.training.plan import Chunk


@pytest.fixture(scope="module")
def backends():
    return {name: import_module(f"{name}_impl.bench.routes") for name in ("pyro", "numpyro")}


def routes(backends, model) -> dict[str, Route]:
    """The ways to train `model` with a guide for its site "a"."""

    def guide():
        pyro.sample("a", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))

    program = Program(model, guide)
    return backends["pyro"].program_routes(program, Case(program, program), "cpu")


def test_on_a_cpu_a_users_steps_pay_for_no_device_mode(backends):
    modes = []

    def model():
        modes.append(torch.overrides._get_current_function_mode_stack())
        pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))

    run = routes(backends, model)["Pyro, stock, SVI.step"].start()
    run(Chunk(0, np.zeros((2, 0), int), np.ones(2), {}))
    assert modes == [[], []]


def broken_model():
    raise ValueError("no such thing")


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_an_error_in_a_users_program_names_its_line(backends, backend):
    """It is the user's to mend: nothing is timed."""
    program = import_module(f"{backend}_impl").Program(broken_model, lambda: None)
    with pytest.raises(InputError) as stop:
        measure.measure_case("MINE", Case(program, program), backends, "cpu")
    told = str(stop.value)
    line = broken_model.__code__.co_firstlineno + 1
    assert "MINE cannot be run" in told
    assert f'test_bench_cases.py", line {line}, in broken_model' in told
    assert "\nValueError: no such thing" in told


# --- what the ways do

X = np.linspace(-1.0, 2.0, 12)


def pyro_model(x):
    a = pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("items", len(x)):
        pyro.sample("x", dist.Normal(a, 1.0), obs=x)


def numpyro_model(x):
    a = numpyro.sample("a", ndist.Normal(jnp.zeros(()), 1.0))
    with numpyro.plate("items", len(x)):
        numpyro.sample("x", ndist.Normal(a, 1.0), obs=x)


def pyro_point(x):
    pyro.sample("a", dist.Delta(pyro.param("at", torch.tensor(3.0))))


def numpyro_point(x):
    numpyro.sample("a", ndist.Delta(numpyro.param("at", jnp.array(3.0))))


def numpyro_guide(x):
    numpyro.sample("a", ndist.Normal(numpyro.param("at", jnp.array(3.0)), 1.0))


def steps(count) -> Chunk:
    return Chunk(0, np.zeros((count, 0), int), np.ones(count), {})


def losses(backend, program, compiled=False, chunks=(3, 2, 2)) -> dict[str, np.ndarray]:
    """By way: of the steps of a few chunks, one after the other; torch's compiler only if asked for."""
    case = Case(program, program, args=(X,))
    runs = {
        name: route.start()
        for name, route in backend.program_routes(program, case, "cpu").items()
        if compiled or not route.compiler
    }
    return {n: np.concatenate([run(steps(c)) for c in chunks]) for n, run in runs.items()}


@pytest.mark.parametrize("loss", ["Trace", "TraceEnum", "TraceGraph", "TraceMeanField"])
def test_pyros_traced_loss_is_the_cases_where_it_is_traced_once(backends, loss):
    program = Program(pyro_model, pyro_point)
    case = Case(program, program, args=(X,), loss=f"{loss}_ELBO")
    names = list(backends["pyro"].program_routes(program, case, "cpu"))
    traced = [] if loss == "TraceMeanField" else [f"Pyro, stock, Jit{loss}_ELBO"]
    assert names == [
        "Pyro, stock, SVI.step",
        *traced,
        "Pyro, ours, replayed",
        "Pyro, ours, compiled",
    ]


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_every_way_to_train_a_users_pair_takes_the_same_steps(backends):
    """Where a guide draws nothing the losses of both programs are the same numbers."""
    found = losses(backends["pyro"], Program(pyro_model, pyro_point))
    ways = ("stock, SVI.step", "stock, JitTrace_ELBO", "ours, replayed")
    assert list(found) == [f"Pyro, {way}" for way in ways]
    others = losses(backends["numpyro"], NumpyroProgram(numpyro_model, numpyro_point))
    assert list(others) == ["NumPyro, stock, svi.update in lax.scan", "NumPyro, ours"]
    expected = found["Pyro, stock, SVI.step"]
    assert np.all(np.diff(expected) < -1e-4)
    for name, values in (found | others).items():
        np.testing.assert_allclose(values, expected, rtol=1e-6, err_msg=name)


def test_ours_in_numpyro_takes_the_steps_of_compiled_svi(backends):
    """With its draws; a chunk of any length goes on where the one before stopped."""
    found = losses(backends["numpyro"], NumpyroProgram(numpyro_model, numpyro_guide))
    adam, elbo = numpyro.optim.Adam(CASE_RATE), numpyro.infer.Trace_ELBO()
    svi = CompiledSVI(numpyro_model, numpyro_guide, adam, elbo)
    x = jnp.array(X, "float32")
    expected = svi.run(random.key(SEED), 7, x, progress_bar=False).losses
    for name, values in found.items():
        np.testing.assert_allclose(values, expected, rtol=1e-6, err_msg=name)


def test_in_numpyro_no_way_uses_what_another_compiled(backends):
    """Or the first would pay for all."""
    program = NumpyroProgram(numpyro_model, numpyro_guide)
    compiled = jax.jit(lambda x: x + 1)
    for route in (
        backends["numpyro"].program_routes(program, Case(program, program, (X,)), "cpu").values()
    ):
        compiled(1.0)
        assert compiled._cache_size() == 1
        route.start()
        assert compiled._cache_size() == 0


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
def test_a_way_that_asks_too_much_of_a_program_is_told_and_left_out(backends, monkeypatch):
    """Although it is a line of the user's that raises: the program runs as it is."""

    def untraceable(x):
        if torch.jit.is_tracing():
            raise ValueError("not while traced\nand more")
        pyro_model(x)

    backend = backends["pyro"]
    every = backend.program_routes
    quick = {"begin": backend.begin, "devices": backend.devices}
    quick["program_routes"] = lambda *given: {
        name: route for name, route in every(*given).items() if not route.compiler
    }
    monkeypatch.setattr(turns, "ROUNDS", 2)
    monkeypatch.setattr(turns, "MOST_STEPS", 5)
    program = Program(untraceable, pyro_point)
    case = Case(program, program, args=(X,))
    found = measure.measure_case("MINE", case, {"pyro": SimpleNamespace(**quick)}, "cpu")
    assert [row.name for row in found.rows] == [
        f"{which}: Pyro, {way}"
        for which in ("first", "second")
        for way in ("stock, SVI.step", "ours, replayed")
    ]
    assert found.failed == {
        f"{which}: Pyro, stock, JitTrace_ELBO": "ValueError: not while traced"
        for which in ("first", "second")
    }
    assert [row.ratio_to_floor for row in found.rows] == 4 * [None]


@pytest.mark.parametrize(("seconds", "count"), [(0.0, 100), (0.03, 4)])
def test_a_block_is_as_long_as_the_quickest_way_allows(monkeypatch, seconds, count):
    monkeypatch.setattr(turns, "ROUNDS", 2)
    taken = []

    def start(pause):
        def run(chunk):
            taken.append(len(chunk.rates))
            time.sleep(pause * len(chunk.rates))
            return np.zeros(len(chunk.rates))

        return run

    backend = SimpleNamespace(
        devices=lambda: ("cpu",),
        program_routes=lambda *given: {
            "slow": Route(lambda: start(seconds + 1e-4)),
            "quick": Route(lambda: start(seconds)),
        },
        begin=lambda route, chunk, device: Started(route.start(), np.zeros(1), 0.0, 0.0),
    )
    program = SimpleNamespace(framework="one")
    measure.measure_case("MINE", Case(program, program), {"one": backend}, "cpu")
    assert set(taken[4:]) == {count}
