"""NumPyro's side of `twinplate bench`: the shipped training, the stock recipes, the hand-written ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array, lax, random
from numpyro import infer
from numpyro.infer.svi import SVIState

from numpyro_impl.arguments import Inputs, make_inputs
from numpyro_impl.bench import handwritten
from numpyro_impl.bench.stock import Stock
from numpyro_impl.compiled.steps import copied, take_steps
from numpyro_impl.compiled.svi import CompiledSVI
from numpyro_impl.device import find_device
from numpyro_impl.recording.borrowed import in_precision
from numpyro_impl.recording.program import Program
from numpyro_impl.training.trainer import Trainer
from twinplate.bench.backend import CASE_RATE, LIMIT_SIZES, Route, Started, TakeSteps
from twinplate.bench.timing import timed
from twinplate.bench.workload import SEED, Workload
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.training.plan import Chunk
from twinplate.training.state import TrainingState
from twinplate.verification.case import Case

MANY_STEPS = 1_000_000  # of the run that a step is timed of: for a short one the compiler does less


def devices() -> tuple[str, ...]:
    """ "cpu", and "gpu" where JAX has one."""
    try:
        return ("cpu", "gpu") if jax.devices("gpu") else ("cpu",)
    except RuntimeError:
        return ("cpu",)


@contextmanager
def equal_terms(threads: int) -> Iterator[None]:
    """Validation off, full float32 products, no compiled code from a cache.

    JAX's threads are set before it starts, by the environment's NPROC (`twinplate.bench.terms`).
    """
    config: Any = jax.config  # which makes its options attributes at run time
    cached = config.jax_enable_compilation_cache
    try:
        config.update("jax_enable_compilation_cache", False)
        with jax.default_matmul_precision("highest"), numpyro.validation_enabled(False):
            yield
    finally:
        config.update("jax_enable_compilation_cache", cached)


def limits(device: str) -> tuple[float, float]:
    """Floating-point operations per second of a float32 matrix product; bytes per second of a copy."""
    size, length = LIMIT_SIZES[device]
    with jax.default_device(find_device(device)):
        matrix, long = jnp.ones((size, size)), jnp.ones(length)
        product, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)

        def seconds(work: Callable[[], Array]) -> float:
            return min(timed(lambda: jax.block_until_ready(work()))[1] for _ in range(6))

        multiplied = seconds(lambda: product(matrix, matrix))
        return 2 * size**3 / multiplied, 2 * 4 * long.size / seconds(lambda: copy(long))


def ours(work: Workload, device: str, first: int | None = None) -> dict[str, Route]:
    """The shipped ways to train; none of them has machine code only from the step `first` on."""
    return {"NumPyro, ours": Route(_on(device, partial(_ours, work, device)))}


def routes(work: Workload, device: str) -> dict[str, Route]:
    """All ways: shipped, stock, hand-written, and the floor."""
    found = ours(work, device)
    for name in ("scatter", "filled"):
        title = f"NumPyro, stock, {name}"
        found[title] = Route(_on(device, partial(_stock, work, name)))
    forms = list(handwritten.FORMS)
    if work.size.num_components > handwritten.LARGEST_ROWS:
        forms.remove("rows")
    for form in forms:
        title = "floor" if form == "floor" else f"JAX, hand-written, {form}"
        start = _on(device, partial(handwritten.start, work, form))
        found[title] = Route(start, exact=form != "floor")
    return found


def program_routes(program: Program, case: Case, device: str) -> dict[str, Route]:
    """The ways to train a user's program, by steps of the stock kind first, and by `CompiledSVI`.

    Raises InputError for a program without a guide.
    """
    if program._build()[1] is None:
        raise InputError("the NumPyro program has no guide: there is nothing to train")
    ways = {"NumPyro, stock, svi.update in lax.scan": _scanned, "NumPyro, ours": _looped}
    return {
        title: Route(_on(device, partial(_stepped, loop, program, case)), exact=False)
        for title, loop in ways.items()
    }


def begin(route: Route, chunk: Chunk, device: str) -> Started:
    """Start a route and take its first chunk; memory is that of XLA's plan for what it compiled."""
    client = find_device(device).client
    before = client.live_executables()
    started = time.perf_counter()
    run = route.start()
    losses = run(chunk)
    first = time.perf_counter() - started
    made = [e for e in client.live_executables() if not any(e is known for known in before)]
    _, later = timed(lambda: run(chunk))
    plans = [e.get_compiled_memory_stats() for e in made]
    peak = max((p.temp_size_in_bytes + p.output_size_in_bytes - p.alias_size_in_bytes for p in plans),
               default=0)  # fmt: skip
    return Started(run, losses, max(first - later, 0.0), peak / 1e6)


def _on(device: str, start: Callable[[], TakeSteps]) -> Callable[[], TakeSteps]:
    """`start` on `device`; arrays stay where they were made."""

    def started() -> TakeSteps:
        with jax.default_device(find_device(device)):
            run = start()

        def on_device(chunk: Chunk) -> np.ndarray:
            with jax.default_device(find_device(device)):
                return run(chunk)

        return on_device

    return started


def _ours(work: Workload, device: str) -> TakeSteps:
    config = TrainingConfig(MANY_STEPS, work.size.batch_size, work.rate, seed=SEED, device=device)
    return Trainer(work.x, work.program, config, state=TrainingState.start(work.params)).run


def _stock(work: Workload, form: str) -> TakeSteps:
    return Stock(work, form).run


def _stepped(loop: Callable[..., Any], program: Program, case: Case) -> TakeSteps:
    """A user's program, built afresh: steps of `loop` on the case's arguments.

    Every way compiles everything itself: what one of the program's others compiled is thrown away.
    """
    jax.clear_caches()
    model, guide = program._build()
    particles = {"num_particles": case.particles, "vectorize_particles": case.vectorize_particles}
    elbo = getattr(infer, case.loss)(**(particles if case.particles > 1 else {}))
    svi = CompiledSVI(model, guide, numpyro.optim.Adam(CASE_RATE), elbo)
    inputs = make_inputs(case.args, dict(case.kwargs), "float32")
    with in_precision((model, guide), "float32"):
        args, kwargs = inputs.arguments()
        state = svi.init(random.key(SEED), *args, **kwargs)
        take = loop(svi, state, inputs)

    def train(chunk: Chunk) -> np.ndarray:
        nonlocal state
        with in_precision((model, guide), "float32"):
            state, losses = take(state, len(chunk.rates))
        return np.asarray(losses, np.float64)

    return train


def _scanned(svi: CompiledSVI, state: SVIState, inputs: Inputs) -> Callable[..., Any]:
    """`SVI.update` in a compiled loop, as one writes it."""

    @partial(jax.jit, static_argnums=2)
    def loop(state: SVIState, inputs: Inputs, steps: int) -> Any:
        def step(state: SVIState, _: None) -> Any:
            args, kwargs = inputs.arguments()
            return svi.update(state, *args, **kwargs)

        return lax.scan(step, state, length=steps)

    return lambda state, steps: loop(state, inputs, steps)


def _looped(svi: CompiledSVI, state: SVIState, inputs: Inputs) -> Callable[..., Any]:
    """The loop of `CompiledSVI.run`, traced once as there, however many chunks follow."""
    loop = svi._compile(partial(take_steps, svi.update, inputs), state, inputs.arrays, 1)

    def take(state: SVIState, steps: int) -> Any:
        state, losses, _ = loop(copied(state), inputs.arrays, steps)
        return state, losses[:steps]

    return take
