"""`twinplate bench`: every way to train, timed in turns on this machine, and the one to pick.

Before anything is timed its losses are checked: the same parameters, mini-batches and noise must give
the same losses, step after step, or else the ways do different work and cannot be compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from twinplate.backends import BACKENDS, available_backends, load_backend
from twinplate.bench.checks import (
    CHECKED_RATE,
    check_exact,
    check_expected,
    checked_first,
    kept_apart,
    take_checked,
)
from twinplate.bench.timing import (
    CASE_RATE,
    ROUNDS,
    Interval,
    Room,
    Route,
    Started,
    interleave,
    ratio,
    spread,
    timed,
)
from twinplate.bench.workload import SEED, Workload
from twinplate.seeds import generator
from twinplate.training.plan import Chunk
from twinplate.training.state import Array
from twinplate.user_file import told_in_user_terms

FLOOR = "floor"
BLOCK_SECONDS = 0.08  # of a block at the machine's limit
FEWEST_STEPS, MOST_STEPS = 4, 100  # of a block
BUDGET_SECONDS = 240.0  # of all rounds of one table
FEWEST_ROUNDS = 7

Report = Callable[[str], None]


@dataclass(frozen=True)
class Limits:
    """What the machine can do: operations of a float32 matrix product, copied bytes; per second."""

    flops: float
    bytes: float

    def better(self, other: Limits) -> Limits:
        """The higher of each: what else runs on the machine can only lower them."""
        return Limits(max(self.flops, other.flops), max(self.bytes, other.bytes))

    def step_ms(self, work: Workload) -> float:
        """Milliseconds of a step that only multiplied its matrices and ran Adam, at these limits."""
        return 1e3 * (work.flops / self.flops + work.adam_bytes / self.bytes)


@dataclass(frozen=True)
class Row:
    """One way to train, at one size on one device.

    spread_ms: interquartile range over the rounds.
    ratio_to_floor: None where there is no floor.  compile_s, peak_mb: as in `timing.Started`.
    """

    size: str
    device: str
    name: str
    median_ms: float
    spread_ms: float
    ratio_to_floor: float | None
    compile_s: float
    peak_mb: float


@dataclass(frozen=True)
class Measured:
    """All ways to train at one size on one device.

    seconds: of a step, by name, in every round.  failed: why a way was not measured.
    limit_ms: `Limits.step_ms`.  losses: mean of the last chunk, by name.
    """

    size: str
    device: str
    rows: list[Row]
    seconds: dict[str, Array]
    failed: dict[str, str]
    limit_ms: float | None = None
    losses: dict[str, float] = field(default_factory=dict)

    def ratio(self, numerator: str, denominator: str) -> Interval | None:
        """Of two ways, round by round; None if one was not measured."""
        if not {numerator, denominator} <= self.seconds.keys():
            return None
        return ratio(self.seconds[numerator], self.seconds[denominator])

    def row(self, name: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.rows if row.name == name), None)


def threads() -> int:
    """That both frameworks get: OMP_NUM_THREADS, or the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else cores or 1


def load_rooms() -> dict[str, Room]:
    """The twins' `bench` modules that can be loaded, by backend, on equal terms.

    Raises InputError if neither framework is installed.
    """
    # Read when a framework starts: JAX's threads and memory; what torch's profiler says on stderr.
    os.environ["NPROC"] = str(threads())
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    names = available_backends()
    if not names:
        load_backend(next(iter(BACKENDS)))  # says what to install
    return {name: import_module(f"{load_backend(name).__name__}.bench.routes") for name in names}


@contextmanager
def equal_terms(rooms: Mapping[str, Room]) -> Iterator[None]:
    """Threads, precision of matrix products and validation as `load_rooms` and the rooms set them."""
    with ExitStack() as stack:
        for room in rooms.values():
            stack.enter_context(room.equal_terms(threads()))
        yield


def measure_limits(rooms: Mapping[str, Room], device: str) -> Limits:
    """The better of what the frameworks reach."""
    found = [room.limits(device) for room in rooms.values() if device in room.devices()]
    return Limits(*(max(values) for values in zip(*found, strict=True)))


def measure(
    name: str,
    work: Workload,
    rooms: Mapping[str, Room],
    device: str,
    limits: Limits,
    only_ours: bool = False,
    report: Report = lambda text: None,
) -> Measured:
    """Check, compile and time the ways to train `work`; the shipped ones alone if `only_ours`."""
    routes: dict[str, tuple[Room, Route]] = {}
    rooms = {name: room for name, room in rooms.items() if device in room.devices()}
    for backend, room in rooms.items():
        found = room.ours(work, device) if only_ours else room.routes(work, device)
        for title, route in found.items():
            routes[f"{FLOOR}, {backend}" if title == FLOOR else title] = room, route
    chunk = work.chunk(block_steps(work.flops / limits.flops))
    if only_ours:
        started, failed = begin_all(routes, chunk, device, report)
    else:
        started, failed = begin_checked(work, routes, rooms, chunk, device, report)
    seconds, late = take_turns(started, chunk, report)
    one_floor(started, seconds)
    limits = limits.better(measure_limits(rooms, device))
    floor = seconds.get(FLOOR)
    if device != "cpu" and not only_ours:
        floor = np.array(limits.step_ms(work) / 1e3)
    rows = make_rows(name, device, started, seconds, floor)
    return Measured(name, device, rows, seconds, failed | late, limits.step_ms(work))


def block_steps(seconds: float) -> int:
    """Steps of a block where one takes about so long, or less."""
    wanted = round(BLOCK_SECONDS / seconds)
    return max(min(wanted, MOST_STEPS), min(FEWEST_STEPS, MOST_STEPS))


def begin_checked(
    work: Workload,
    routes: Mapping[str, tuple[Room, Route]],
    rooms: Mapping[str, Room],
    chunk: Chunk,
    device: str,
    report: Report,
) -> tuple[dict[str, Started], dict[str, str]]:
    """Start every route whose losses show that it does the work; what is wrong with the others, by name.

    With noise that is given the losses have to be equal, step after step (`check_exact`). Routes that
    draw their own, and the others once more, have to come to the expected mean (`check_expected`).
    """
    moved = replace(work, rate=CHECKED_RATE)
    made = {
        n: r for room in rooms.values() for n, r in room.routes(moved, device).items() if r.exact
    }
    slow = {name for name, route in made.items() if route.compiler}
    losses, failed = take_checked(work, {n: r for n, r in made.items() if n not in slow}, report)
    failed |= check_exact(work, losses)
    started, more = begin_all(
        {
            name: (room, checked_first(work, route) if name in slow else route)
            for name, (room, route) in routes.items()
            if name not in failed
        },
        chunk,
        device,
        report,
    )
    first = {name: s.losses for name, s in started.items() if not name.startswith(FLOOR)}
    wrong = check_exact(work, losses | {n: values for n, values in first.items() if n in slow})
    wrong |= check_expected(work, {n: values for n, values in first.items() if n not in slow})
    return {n: s for n, s in started.items() if n not in wrong}, failed | more | wrong


def one_floor(started: dict[str, Started], seconds: dict[str, Array]) -> None:
    """Call the lower of the frameworks' floors, by its median, the floor."""
    floors = [name for name in seconds if name.startswith(FLOOR)]
    if floors:
        lowest = min(floors, key=lambda name: float(np.median(seconds[name])))
        started[FLOOR], seconds[FLOOR] = started.pop(lowest), seconds.pop(lowest)


def begin_all(
    routes: Mapping[str, tuple[Room, Route]],
    chunk: Chunk,
    device: str,
    report: Report,
    told: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> tuple[dict[str, Started], dict[str, str]]:
    """Start every route; those that raise are told by name.

    told: makes the context in which a route of that name is started; an InputError that it raises passes.
    """
    started: dict[str, Started] = {}
    failed: dict[str, str] = {}
    for name, (room, route) in routes.items():
        report(f"compiling {name}")
        with kept_apart(name, failed), told(name):
            started[name] = room.begin(route, chunk, device)
    return started, failed


def take_turns(
    started: dict[str, Started], chunk: Chunk, report: Report
) -> tuple[dict[str, Array], dict[str, str]]:
    """Seconds of a step, by name, in every round; and what failed, which `started` loses."""
    failed: dict[str, str] = {}

    def block(name: str) -> None:
        if name in started:
            with kept_apart(name, failed):
                started[name].run(chunk)
        if name in failed:
            started.pop(name, None)  # and its memory

    blocks = {name: partial(block, name) for name in started}
    report("first round")
    pilot = interleave(blocks, 1, generator(SEED, "order", "first"))
    cost = sum(values[0] for values in pilot.values())
    rounds = int(np.clip(BUDGET_SECONDS / max(cost, 1e-9), min(FEWEST_ROUNDS, ROUNDS), ROUNDS))
    done = iter(range(1, rounds + 1))
    seconds = interleave(
        blocks,
        rounds,
        generator(SEED, "order"),
        lambda: report(f"round {next(done)} of {rounds}"),
    )
    return {name: seconds[name] / len(chunk.rates) for name in started}, failed


def make_rows(
    size: str,
    device: str,
    started: Mapping[str, Started],
    seconds: Mapping[str, Array],
    floor: Array | None,
) -> list[Row]:
    """The rows of a table."""
    return [
        Row(
            size,
            device,
            name,
            1e3 * float(np.median(seconds[name])),
            1e3 * spread(seconds[name]),
            None if floor is None else ratio(seconds[name], floor).median,
            s.compile_s,
            s.working_mb,
        )
        for name, s in started.items()
    ]


def measure_case(
    name: str, case: Any, rooms: Mapping[str, Room], device: str, report: Report = lambda text: None
) -> Measured:
    """Time the ways to train both programs of a `Case`, side by side.

    Raises InputError for a program that is broken: whose first way to train is. The others may ask more
    of a program (that it can be traced), and are told and left out.
    """
    routes: dict[str, tuple[Room, Route]] = {}
    least = set()  # that ask least of a program
    for which, program in (("first", case.first), ("second", case.second)):
        room = rooms[program.framework]
        if device in room.devices():
            found = room.program_routes(program, case, device)
            least.add(f"{which}: {next(iter(found))}")
            routes |= {f"{which}: {title}": (room, route) for title, route in found.items()}

    def told(title: str) -> AbstractContextManager[object]:
        what = f"{title}: {name} cannot be run"
        return told_in_user_terms(what) if title in least else nullcontext()

    short = _case_chunk(FEWEST_STEPS)
    started, failed = begin_all(routes, short, device, report, told)
    quick = [timed(partial(s.run, short))[1] for s in started.values()]
    chunk = _case_chunk(block_steps(min(quick, default=1.0) / FEWEST_STEPS))
    seconds, late = take_turns(started, chunk, report)
    losses = {title: float(np.mean(s.run(chunk))) for title, s in started.items()}
    rows = make_rows(name, device, started, seconds, None)
    return Measured(name, device, rows, seconds, failed | late, losses=losses)


def _case_chunk(steps: int) -> Chunk:
    """Steps on a case's own arguments."""
    return Chunk(0, np.zeros((steps, 0), np.int64), np.full(steps, CASE_RATE), {})
