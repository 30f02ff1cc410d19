"""The ways to train that the benchmark times: equal work, memory, and a failing one among them.

Nothing here asserts a time: what is fast enough is `twinplate bench`'s own to say.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from tiny_workload import TINY

from pyro_impl.compiled.errors import CannotCompileError
from twinplate.bench import measure, turns
from twinplate.bench.backend import Route, Started
from twinplate.bench.checks import (
    CHECKED_RATE,
    check_exact,
    check_expected,
    checked_chunk,
    checked_first,
    take_checked,
)
from twinplate.bench.report import TARGETS
from twinplate.bench.terms import Limits
from twinplate.bench.workload import Size, filled_order, make_workload, reference_loss

BACKENDS = ("pyro", "numpyro")


@pytest.fixture(scope="module")
def work():
    """Tiny, with a rate at which three steps of Adam make a difference."""
    return replace(make_workload(TINY), rate=CHECKED_RATE)


@pytest.fixture(scope="module")
def backends():
    return {name: import_module(f"{name}_impl.bench.routes") for name in BACKENDS}


def exact_routes(backends, work):
    return {
        n: r
        for backend in backends.values()
        for n, r in backend.routes(work, "cpu").items()
        if r.exact
    }


# --- equal work


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("compiler", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_way_to_train_does_the_same_work(backends, work, compiler, request, monkeypatch):
    """Same parameters, mini-batches and noise: the same losses while Adam moves the parameters."""
    if not compiler:  # the graphs themselves, without the half minute of a C++ compiler
        request.getfixturevalue("interpreted")
        torch = import_module("torch")
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    chunk = work.chunk(4, matched=True)
    losses = {name: route.start()(chunk) for name, route in exact_routes(backends, work).items()}
    families = {name.rsplit(",", 1)[0] for name in losses}
    assert {"NumPyro, stock", "JAX, hand-written", "torch, hand-written"} <= families
    assert {"NumPyro", "Pyro, ours", "Pyro, stock"} <= families
    first = reference_loss(work, work.x[chunk.indices[0]], chunk.noise["a_aux"][0, 0])
    for name, found in losses.items():
        np.testing.assert_allclose(found[0], first, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(found, losses["NumPyro, ours"], rtol=1e-5, err_msg=name)


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("form", ["packed", pytest.param("rows", marks=pytest.mark.slow)])
def test_compiled_torch_does_what_eager_torch_does(work, form):
    handwritten = import_module("pyro_impl.bench.handwritten")
    chunk = work.chunk(4, matched=True)
    eager = handwritten.start(work, "packed")(chunk)
    compiled = handwritten.start(work, form, compiled=True)(chunk)
    np.testing.assert_allclose(compiled, eager, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_torch_gathers_its_mini_batches_itself(work):
    """As ours does: what is left outside the graph is to pick a step's indices, noise and rate."""
    torch = import_module("torch")
    run = import_module("pyro_impl.bench.handwritten").start(work, "packed", compiled=True)
    run(work.chunk(1))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        run(work.chunk(2))
    names = {event.key for event in found.key_averages()}
    assert "aten::select" in names and "aten::index" not in names


def test_what_a_cuda_graph_changes_stays_where_it_is(work, monkeypatch):
    """Otherwise torch's compiler makes no CUDA graph; tensors that only say they are on a GPU."""
    torch, hand = (import_module(name) for name in ("torch", "pyro_impl.bench.handwritten"))
    held, asked = [], {}

    def compile_nothing(step, **options):
        asked.update(options)
        return step

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(torch._dynamo, "mark_static_address", held.append)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    run = hand.start(work, "packed", compiled=True)
    before = {id(tensor): tensor.clone() for tensor in held}
    monkeypatch.setattr(torch._dynamo, "mark_static_address", lambda tensor: None)
    eager = hand.start(work, "packed")
    np.testing.assert_allclose(run(work.chunk(2)), eager(work.chunk(2)), rtol=1e-5)
    assert asked["mode"] == "reduce-overhead"
    changed = [tensor for tensor in held if not torch.equal(tensor, before[id(tensor)])]
    assert len(changed) == 3 * len(work.params) + 1
    shapes = [tuple(tensor.shape) for tensor in held]
    assert shapes.count(work.x.shape) == 1
    assert {*map(np.shape, work.program.fixed.values()), (4, 6), (6, 4)} <= set(shapes)


@pytest.mark.parametrize("late", [False, True])
def test_steps_that_cannot_be_compiled_are_not_timed_as_compiled_ones(
    backends, work, monkeypatch, late
):
    """Whether that is found at once, or when the process that compiles has failed."""

    def refuse(*_):
        raise CannotCompileError("of this test")

    begin = (lambda *_: refuse) if late else refuse
    monkeypatch.setattr("pyro_impl.compiled.building.begin_compiling", begin)
    run = backends["pyro"].ours(work, "cpu")["Pyro, ours, compiled"].start()
    with pytest.raises(UserWarning, match="without machine code: of this test"):
        run(work.chunk(2))


def test_the_reference_loss_is_the_closed_form_on_average(work):
    """Mean over noise: -(log evidence - KL to the exact posterior), per item."""
    x = work.x[work.chunk(1).indices[0]]
    generative = work.program.start
    guide = import_module("pyro_impl").posterior(x, work.program, work.params)
    exact = generative.log_evidence(x) - generative.kl_to_posterior(x, guide)
    expected = -exact.mean()
    rng = np.random.default_rng(0)
    draws = [reference_loss(work, x, rng.standard_normal((16, 4))) for _ in range(2000)]
    error = np.std(draws) / math.sqrt(len(draws))
    assert abs(np.mean(draws) - expected) < 4 * error
    assert error < 0.01 * abs(expected)


def test_the_check_before_timing_finds_other_work(backends, work):
    routes = exact_routes(backends, work)
    right = {n: routes[n] for n in ("torch, hand-written, eager", "Pyro, stock, SVI.step")}
    hand = import_module("pyro_impl.bench.handwritten")

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
        losses, _ = take_checked(work, {**right, name: route}, print)
        found = check_exact(work, losses)
        assert list(found) == [name], name
        assert "other work" in found[name]


def test_a_first_loss_out_of_reach_is_told(work):
    chunk = work.chunk(1, matched=True)
    loss = reference_loss(work, work.x[chunk.indices[0]], chunk.noise["a_aux"][0, 0])
    given = {"right": [loss], "low": [0.1 * loss], "none": [math.nan]}
    assert list(check_expected(work, given)) == ["low", "none"]


def test_many_first_losses_tell_what_one_cannot(work):
    """A quarter more than expected is within the noise of one loss, but not of the mean of a hundred."""
    noise = np.random.default_rng(0).standard_normal((100, 16, 4))
    batches = work.chunk(100).indices
    right = np.array(
        [reference_loss(work, work.x[i], e) for i, e in zip(batches, noise, strict=True)]
    )
    given = {
        "right": right,
        "first": right[:1],
        "high": 1.25 * right,
        "first high": 1.25 * right[:1],
    }
    assert list(check_expected(work, given)) == ["high"]


def test_a_way_that_compiles_is_checked_as_it_starts(work):
    """Its first call takes the checked steps, returns their losses, and then takes its own."""
    taken = []

    def run(chunk):
        taken.append(chunk)
        return np.full(len(chunk.rates), float(len(taken)))

    first, own = checked_chunk(work), work.chunk(5)
    started = checked_first(work, Route(lambda: run, compiler=True)).start()
    np.testing.assert_array_equal(started(own), [1.0] * len(first.rates))
    np.testing.assert_array_equal(taken[0].noise["a_aux"], first.noise["a_aux"])
    assert taken[1] is own and len(taken) == 2
    assert started(own)[0] == 3.0 and taken[2] is own


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
    jax_hand, torch_hand = (
        import_module(f"{b}_impl.bench.handwritten") for b in ("numpyro", "pyro")
    )
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
    run = import_module("pyro_impl.bench.handwritten").start(work, "floor")
    with counter:
        run(work.chunk(1))
    assert counter.get_total_flops() == work.flops


def dot_operations(jaxpr):
    """Of all matrix products of a jaxpr, those of the jaxprs inside included."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            inner = math.prod(shape[axis] for axis in contracted)
            total += 2 * inner * equation.outvars[0].aval.size
        for value in equation.params.values():
            inside = getattr(value, "jaxpr", value)  # open or closed
            total += dot_operations(inside) if hasattr(inside, "eqns") else 0
    return total


def test_the_operations_are_those_that_jax_traces(work, monkeypatch):
    """The same of JAX's floor, in the program that it compiles."""
    jax = import_module("jax")
    jit, traced = jax.jit, []

    def tracing(function, **options):
        def run(*arguments):
            traced.append(jax.make_jaxpr(function)(*arguments).jaxpr)
            return jit(function, **options)(*arguments)

        return run

    monkeypatch.setattr(jax, "jit", tracing)
    import_module("numpyro_impl.bench.handwritten").start(work, "floor")(work.chunk(1))
    (whole,) = traced
    assert dot_operations(whole) == work.flops


def test_the_floor_is_the_lower_one():
    """Whichever framework it is of, and in whichever order they were started."""
    for low, high in [("pyro", "numpyro"), ("numpyro", "pyro")]:
        seconds = {"floor, pyro": np.full(3, 2.0), "way": np.full(3, 4.0)}
        seconds |= {"floor, numpyro": np.full(3, 2.0), f"floor, {low}": np.array([1.0, 1.0, 9.0])}
        started = {name: Started(list, np.zeros(1), 0.0, 0.0) for name in seconds}
        lower = started[f"floor, {low}"]
        measure.one_floor(started, seconds)
        assert set(started) == set(seconds) == {"way", "floor", f"floor, {high}"}
        assert started["floor"] is lower
        rows = measure.make_timings("S", "cpu", started, seconds, seconds["floor"])
        ratios = {row.name: row.ratio_to_floor for row in rows}
        assert ratios == {"way": 4.0, "floor": 1.0, f"floor, {high}": 2.0}
    measure.one_floor({}, {})


# --- failures, memory, targets, limits


def test_a_route_that_raises_does_not_stop_the_others(backends, work):
    def broken():
        raise RuntimeError("no compiler\nand more")

    routes = {
        "broken": (backends["pyro"], Route(broken)),
        "sound": (backends["pyro"], exact_routes(backends, work)["torch, hand-written, eager"]),
    }
    started, failed = turns.begin_all(routes, work.chunk(2), "cpu", print)
    assert list(started) == ["sound"]
    assert failed == {"broken": "RuntimeError: no compiler"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_is_what_a_step_allocates(backends, backend):
    """Ten times the batch takes about ten times as much; at least the encoder's output is held."""
    peaks = []
    for batch_size in (500, 5000):
        work = make_workload(Size(5000, 6, 4, batch_size, 8))
        name = {"pyro": "torch, hand-written, eager", "numpyro": "JAX, hand-written, scatter"}
        route = backends[backend].routes(work, "cpu")[name[backend]]
        peaks.append(backends[backend].begin(route, work.chunk(2), "cpu").working_mb)
    outputs = 5000 * (4 + 10) * 4 / 1e6
    assert outputs < peaks[1] < 40 * outputs
    assert 5 < peaks[1] / peaks[0] < 20


def test_every_target_names_rows_that_exist(backends, work):
    names = {name for backend in backends.values() for name in backend.routes(work, "cpu")}
    named = {name for target in TARGETS for name in (target.numerator, target.denominator)}
    assert {n for n in named if not any(k.startswith(n) for k in names)} == set()
    wanted = {size for target in TARGETS for size in target.bounds}
    assert wanted == {"S", "M", "L"}


def test_each_half_has_a_floor_of_its_own(backends, work):
    assert all(measure.FLOOR in backend.routes(work, "cpu") for backend in backends.values())


def test_the_limit_is_products_and_adam_one_after_the_other(work):
    limits = Limits(flops=work.flops / 2e-3, bytes=7 * 4 * work.num_parameters / 5e-3)
    assert limits.step_ms(work) == pytest.approx(7.0)
    assert Limits(2.0, 3.0).better(Limits(1.0, 5.0)) == Limits(2.0, 5.0)
