"""Pyro's side of `twinplate bench`: the shipped training, the stock recipes, the hand-written ones."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pyro
import torch
from pyro import infer
from pyro.optim import PyroOptim
from pyro.params.param_store import StateDict
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from pyro_impl.arguments import make_inputs
from pyro_impl.bench import handwritten
from pyro_impl.bench.stock import Stock, quiet
from pyro_impl.compiled.compilation import end_compiling
from pyro_impl.compiled.errors import EagerWarning
from pyro_impl.compiled.settings import matmul_precision, set_matmul_precision
from pyro_impl.compiled.svi import CompiledSVI
from pyro_impl.device import find_device
from pyro_impl.reachable import tensors_of
from pyro_impl.recording.borrowed import Borrowed
from pyro_impl.recording.program import Program
from pyro_impl.torch_private import compiled_afresh
from pyro_impl.training.trainer import Trainer
from twinplate.bench.backend import (
    CASE_RATE,
    IN_BACKGROUND,
    LIMIT_SIZES,
    Route,
    Started,
    TakeSteps,
)
from twinplate.bench.timing import timed
from twinplate.bench.workload import SEED, Workload
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.training.plan import Chunk
from twinplate.training.state import TrainingState
from twinplate.verification.case import Case
from twinplate.verification.trees import map_leaves

MOST_COMPILED = 64


def devices() -> tuple[str, ...]:
    """ "cpu", and "gpu" where torch has one."""
    return ("cpu", "gpu") if torch.cuda.is_available() else ("cpu",)


@contextmanager
def equal_terms(threads: int) -> Iterator[None]:
    """Validation off, full float32 products, no compiled code from a cache, `threads` threads."""
    before = torch.get_num_threads(), matmul_precision()
    with ExitStack() as stack:
        stack.callback(set_matmul_precision, before[1])
        stack.callback(torch.set_num_threads, before[0])
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
        for what in ("`torch.jit.", ".*Function'> should not be instantiated"):  # torch by itself
            warnings.filterwarnings("ignore", what, DeprecationWarning)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
        # The hand-written step is compiled for every size and form; by default torch gives up after eight.
        stack.enter_context(compiled_afresh(MOST_COMPILED))
        folder = stack.enter_context(TemporaryDirectory())
        stack.callback(end_compiling)  # which writes there still where the steps were stopped
        # A C++ compiler that is killed leaves its temporary files.
        afresh = dict.fromkeys(("TORCHINDUCTOR_CACHE_DIR", "TMPDIR"), folder)
        stack.enter_context(mock.patch.dict(os.environ, afresh))
        stack.enter_context(pyro.validation_enabled(False))
        stack.enter_context(torch.random.fork_rng())
        yield


def limits(device: str) -> tuple[float, float]:
    """Floating-point operations per second of a float32 matrix product; bytes per second of a copy."""
    where = find_device(device)
    size, length = LIMIT_SIZES[device]
    matrix, long = torch.ones(size, size, device=where), torch.ones(length, device=where)
    out, target = torch.empty_like(matrix), torch.empty_like(long)

    def seconds(work: Callable[[], Any]) -> float:
        def synchronised() -> None:
            work()
            if where.type == "cuda":
                torch.cuda.synchronize()

        return min(timed(synchronised)[1] for _ in range(6))

    product = seconds(lambda: torch.matmul(matrix, matrix, out=out))
    return 2 * size**3 / product, 2 * 4 * long.numel() / seconds(lambda: target.copy_(long))


def ours(work: Workload, device: str, first: int | None = None) -> dict[str, Route]:
    """The shipped ways to train; with `first` also the one with machine code from that step on."""
    eager, replayed = (partial(_ours, work, device, compiled=flag) for flag in (False, True))
    compiled = partial(_ours, work, device, compiled=True, machine_code=True)
    # The compiled step is captured from the eager one; once more for a check would take a minute.
    found = {
        "Pyro, ours, eager": Route(eager),
        "Pyro, ours, replayed": Route(replayed),
        "Pyro, ours, compiled": Route(compiled, exact=False, compiler=True),
    }
    if first is not None:
        later = partial(_ours, work, device, compiled=True, machine_code=first)
        found[IN_BACKGROUND] = Route(later, exact=False, compiler=True)
    return found


def routes(work: Workload, device: str) -> dict[str, Route]:
    """All ways: shipped, stock, hand-written, and the floor."""
    hand = partial(handwritten.start, work, device=device)
    return {
        **ours(work, device),
        "Pyro, stock, SVI.step": Route(lambda: Stock(work, device=device).run),
        # Its trace holds the noise fast, so its losses are compared in expectation only.
        "Pyro, stock, JitTrace_ELBO": Route(
            lambda: Stock(work, infer.JitTrace_ELBO, device=device).run, exact=False
        ),
        "torch, hand-written, eager": Route(partial(hand, "packed")),
        **{
            f"torch, hand-written, compiled, {form}": Route(
                partial(hand, form, compiled=True), compiler=True
            )
            for form in (("packed", "rows") if device == "cpu" else ("packed",))
        },
        "floor": Route(partial(hand, "floor", compiled=True), exact=False, compiler=True),
    }


def program_routes(program: Program, case: Case, device: str) -> dict[str, Route]:
    """The ways to train a user's program, by steps of the stock kind first, and by `CompiledSVI`.

    Raises InputError for a program without a guide.
    """
    if program._builder()[1] is None:
        raise InputError("the Pyro program has no guide: there is nothing to train")
    jit = f"Jit{case.loss}"
    ways: dict[str, tuple[Callable[..., infer.SVI], str]] = {
        "Pyro, stock, SVI.step": (infer.SVI, case.loss),
        f"Pyro, stock, {jit}": (infer.SVI, jit),
        "Pyro, ours, replayed": (CompiledSVI, case.loss),
        "Pyro, ours, compiled": (_with_machine_code, case.loss),
    }
    if case.loss == "TraceMeanField_ELBO":  # Pyro traces that one anew at every step
        del ways[f"Pyro, stock, {jit}"]
    return {
        title: Route(
            partial(_stepped, kind, loss, program, case, device),
            exact=False,
            compiler=kind is _with_machine_code,
        )
        for title, (kind, loss) in ways.items()
    }


def begin(route: Route, chunk: Chunk, device: str) -> Started:
    """Start a route and take its first chunk; memory is the peak that torch's allocator saw in a step."""
    first = _compiler_seconds() if route.compiler else 0.0
    started = time.perf_counter()
    run = route.start()
    losses = run(chunk)
    first += time.perf_counter() - started
    _, later = timed(lambda: run(chunk))
    step = replace(chunk, indices=chunk.indices[:1], rates=chunk.rates[:1])
    peak = _peak_cpu(run, step) if device == "cpu" else _peak_cuda(run, step)
    return Started(run, losses, max(first - later, 0.0), peak / 1e6)


@cache
def _compiler_seconds() -> float:
    """Seconds that starting torch's compiler takes, once in a process: every way that uses it has to wait."""
    return timed(lambda: torch.compile(torch.sin)(torch.zeros(8)))[1]


def _peak_cpu(run: TakeSteps, chunk: Chunk) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler tells stderr of every look
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run(chunk)
    events = found.profiler.kineto_results.events()
    changes = [e.nbytes() for e in events if e.name() == "[memory]"]
    return int(max(np.cumsum(changes), default=0))


def _peak_cuda(run: TakeSteps, chunk: Chunk) -> int:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run(chunk)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _ours(
    work: Workload, device: str, compiled: bool, machine_code: bool | int = False
) -> TakeSteps:
    steps = max(1, machine_code)  # a shorter run would compile nothing
    config = TrainingConfig(steps, work.size.batch_size, work.rate, seed=SEED, device=device)
    state = TrainingState.start(work.params)
    ways = partial(Trainer, state=state, compiled=compiled, machine_code=machine_code)
    with _refusing():
        trainer = ways(work.x, work.program, config)

    def train(chunk: Chunk) -> np.ndarray:
        with _refusing():  # the step is compiled, or found not to be, when it is first taken
            return trainer.run(chunk)

    return train


def _with_machine_code(model: Any, guide: Any, optim: Any, loss: Any) -> infer.SVI:
    return CompiledSVI(model, guide, optim, loss, machine_code=True)


def _stepped(
    kind: Callable[..., infer.SVI], loss: str, program: Program, case: Case, device: str
) -> TakeSteps:
    """A user's program, built afresh: steps of `kind` on the case's arguments.

    Tensors that the program itself makes have to be made on an accelerator too. The mode that sees to
    that costs time at every call of torch, so that steps on a CPU, which need none, go without.
    """
    where = find_device(device)
    with torch.device(where):
        model, guide = program._builder()
    made = make_inputs(case.args, dict(case.kwargs), "float32")
    inputs = map_leaves(
        lambda leaf: leaf.to(where) if isinstance(leaf, Tensor) else leaf,
        (made.args, made.kwargs),
    )
    borrowed = Borrowed(tensors_of(model, guide), torch.float32)
    particles = {"num_particles": case.particles, "vectorize_particles": case.vectorize_particles}
    options = (particles if case.particles > 1 else {}) | quiet(loss)
    elbo = getattr(infer, loss)(**options)
    with _refusing():
        svi = kind(model, guide, PyroOptim(torch.optim.Adam, {"lr": CASE_RATE}), elbo)
    state: StateDict = {"params": {}, "constraints": {}}

    def train(chunk: Chunk) -> np.ndarray:
        args, kwargs = inputs
        with ExitStack() as stack:
            if where.type != "cpu":
                stack.enter_context(torch.device(where))
            stack.enter_context(borrowed.swapped())
            stack.enter_context(pyro.get_param_store().scope(state))
            stack.enter_context(_refusing())
            torch.manual_seed(SEED)
            return np.array([svi.step(*args, **kwargs) for _ in chunk.rates])

    return train


@contextmanager
def _refusing() -> Iterator[None]:
    """Where a compiled step falls back to an eager one it is not the way that was to be timed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", EagerWarning)
        yield
