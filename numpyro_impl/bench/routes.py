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
import numpyro.distributions as dist
from flax import nnx
from jax import Array, lax, random
from numpyro import infer
from numpyro.contrib.module import nnx_module
from numpyro.infer.svi import SVIState

from numpyro_impl.arguments import Inputs, make_inputs
from numpyro_impl.bench import handwritten
from numpyro_impl.compiled.steps import copied, take_steps
from numpyro_impl.compiled.svi import CompiledSVI
from numpyro_impl.device import find_device, to_array
from numpyro_impl.programs.assembly import build
from numpyro_impl.programs.encoder import Encoder
from numpyro_impl.programs.guides import components_first
from numpyro_impl.programs.models import mini_batch
from numpyro_impl.programs.noise import base_noise
from numpyro_impl.programs.parameters import to_neutral
from numpyro_impl.recording.borrowed import in_precision
from numpyro_impl.recording.program import Program
from numpyro_impl.training.trainer import Trainer
from twinplate.bench.timing import CASE_RATE, Route, Run, Started, timed
from twinplate.bench.workload import SEED, Workload
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import Params
from twinplate.training.plan import Chunk
from twinplate.training.state import TrainingState
from twinplate.verification.case import Case


def devices() -> tuple[str, ...]:
    """ "cpu", and "gpu" where JAX has one."""
    try:
        return ("cpu", "gpu") if jax.devices("gpu") else ("cpu",)
    except RuntimeError:
        return ("cpu",)


@contextmanager
def equal_terms(threads: int) -> Iterator[None]:
    """Validation off, full float32 products, no compiled code from a cache.

    JAX's threads are set before it starts, by the environment's NPROC (`twinplate.bench.measure`).
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
    size = 2048 if device == "cpu" else 8192
    with jax.default_device(find_device(device)):
        matrix, long = jnp.ones((size, size)), jnp.ones(2**25)
        product, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)

        def seconds(work: Callable[[], Array]) -> float:
            return min(timed(lambda: jax.block_until_ready(work()))[1] for _ in range(6))

        multiplied = seconds(lambda: product(matrix, matrix))
        return 2 * size**3 / multiplied, 2 * 4 * long.size / seconds(lambda: copy(long))


def ours(work: Workload, device: str) -> dict[str, Route]:
    """The shipped ways to train."""
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


def _on(device: str, start: Callable[[], Run]) -> Callable[[], Run]:
    """`start` on `device`; arrays stay where they were made."""

    def started() -> Run:
        with jax.default_device(find_device(device)):
            run = start()

        def on_device(chunk: Chunk) -> np.ndarray:
            with jax.default_device(find_device(device)):
                return run(chunk)

        return on_device

    return started


def _ours(work: Workload, device: str) -> Run:
    config = TrainingConfig(1, work.size.batch_size, work.rate, seed=SEED, device=device)
    return Trainer(work.x, work.program, config, state=TrainingState.start(work.params)).run


def _stock(work: Workload, form: str) -> Run:
    return Stock(work, form).run


class _Network(Encoder):
    """The shipped encoder up to its numbers: loc (B, K) and flat (B, K (K + 1) / 2)."""

    def __call__(self, x: Array) -> tuple[Array, Array]:  # type: ignore[override]
        features, missing = self.inputs(x)
        flat = self.network(features, missing)
        k = self.program.config.num_components
        return flat[:, :k] + self.skip(features), flat[:, k:]


class Stock:
    """The textbook recipe: NumPyro's own MultivariateNormal, `SVI.update` in a compiled loop.

    form: of the triangle, "scatter" or "filled".  rate: a number, or a function of the step;
    by default the workload's.
    """

    def __init__(
        self, work: Workload, form: str = "scatter", rate: float | Callable[..., Any] | None = None
    ) -> None:
        k, n = work.size.num_components, work.size.num_items
        network: nnx.Module = _Network(work.program, complete=True)
        fill = {"scatter": handwritten.scatter, "filled": handwritten.filled}[form]
        pair = build(work.program, work.params, complete=True)

        def guide(x: Array, num_items: int | None = None) -> None:
            loc, flat = nnx_module("encoder", network)(x)
            with mini_batch(x, num_items):
                joint = dist.MultivariateNormal(loc, scale_tril=fill(flat, k))
                a_aux = numpyro.sample("a_aux", joint, infer={"is_auxiliary": True})
                with numpyro.plate("components", k, dim=-2):
                    numpyro.sample("a", dist.Delta(components_first(a_aux)))

        adam = numpyro.optim.Adam(work.rate if rate is None else rate)
        self._svi = infer.SVI(pair.model, guide, adam, infer.Trace_ELBO())
        self._data, self._num_items = to_array(work.x, jnp.float32), n
        first = {"encoder$params": handwritten.encoder_params(work, form)}
        batch = self._data[: work.size.batch_size]
        self._state = self._svi.init(random.key(SEED), batch, init_params=first, num_items=n)
        self._loop = jax.jit(self._steps, donate_argnums=1)

    @property
    def params(self) -> Params:
        """Now, in the neutral layout; the last layer in the order of the form."""
        return to_neutral(self._svi.get_params(self._state))

    def run(self, chunk: Chunk) -> np.ndarray:
        """Take the steps of `chunk`, at this recipe's own rate; losses per item (steps,)."""
        noise = {name: to_array(values[:, 0], jnp.float32) for name, values in chunk.noise.items()}
        indices = jnp.asarray(chunk.indices)
        self._state, losses = self._loop(self._data, self._state, indices, noise)
        return np.asarray(losses, np.float64) / self._num_items

    def _steps(self, data: Array, state: Any, indices: Array, noise: dict[str, Array]) -> Any:
        def step(state: Any, inputs: Any) -> Any:
            rows, given = inputs
            with base_noise(given):
                return self._svi.update(state, data[rows], num_items=self._num_items)

        return lax.scan(step, state, (indices, noise))


def _stepped(loop: Callable[..., Any], program: Program, case: Case) -> Run:
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
    loop = svi._compile(partial(take_steps, svi.update), state, inputs, 1)

    def take(state: SVIState, steps: int) -> Any:
        state, losses, _ = loop(copied(state), inputs, steps)
        return state, losses[:steps]

    return take
