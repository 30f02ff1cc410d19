"""`twinplate bench`: every way to train, timed in turns on this machine, and the one to pick.

Before anything is timed its losses are checked: the same parameters, mini-batches and noise must give
the same losses, step after step, or else the ways do different work and cannot be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from twinplate.bench.backend import CASE_RATE, BenchBackend, Route, Started, Tell
from twinplate.bench.checks import (
    CHECKED_RATE,
    check_exact,
    check_expected,
    checked_first,
    take_checked,
)
from twinplate.bench.terms import Limits, measure_limits
from twinplate.bench.timing import Interval, ratio, spread, timed
from twinplate.bench.turns import FEWEST_STEPS, begin_all, block_steps, take_turns
from twinplate.bench.workload import Workload
from twinplate.training.plan import Chunk
from twinplate.training.state import Array
from twinplate.user_file import told_in_user_terms

FLOOR = "floor"


@dataclass(frozen=True)
class Timing:
    """One way to train, at one size on one device.

    spread_ms: interquartile range over the rounds.
    ratio_to_floor: None where there is no floor.  compile_s, peak_mb: as in `backend.Started`.
    totals: numbers of steps and the seconds until then, of a run in a process of its own that found
        nothing compiled; () where there was none.
    """

    size: str
    device: str
    name: str
    median_ms: float
    spread_ms: float
    ratio_to_floor: float | None
    compile_s: float
    peak_mb: float
    totals: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Measured:
    """All ways to train at one size on one device.

    seconds: of a step, by name, in every round.  failed: why a way was not measured.
    limit_ms: `Limits.step_ms`.  losses: mean of the last chunk, by name.
    """

    size: str
    device: str
    rows: list[Timing]
    seconds: dict[str, Array]
    failed: dict[str, str]
    limit_ms: float | None = None
    losses: dict[str, float] = field(default_factory=dict)

    def ratio(self, numerator: str, denominator: str) -> Interval | None:
        """The time of one way divided by that of another, round by round; None if one was not measured."""
        if not {numerator, denominator} <= self.seconds.keys():
            return None
        return ratio(self.seconds[numerator], self.seconds[denominator])

    def row(self, name: str) -> Timing | None:
        """The row of that name."""
        return next((row for row in self.rows if row.name == name), None)


def measure(
    name: str,
    work: Workload,
    backends: Mapping[str, BenchBackend],
    device: str,
    limits: Limits,
    only_ours: bool = False,
    tell: Tell = lambda text: None,
) -> Measured:
    """Check, compile and time the ways to train `work`; the shipped ones alone if `only_ours`."""
    routes: dict[str, tuple[BenchBackend, Route]] = {}
    backends = {which: b for which, b in backends.items() if device in b.devices()}
    for which, backend in backends.items():
        found = backend.ours(work, device) if only_ours else backend.routes(work, device)
        for title, route in found.items():
            routes[f"{FLOOR}, {which}" if title == FLOOR else title] = backend, route
    chunk = work.chunk(block_steps(work.flops / limits.flops))
    if only_ours:
        started, failed = begin_all(routes, chunk, device, tell)
    else:
        started, failed = begin_checked(work, routes, backends, chunk, device, tell)
    seconds, late = take_turns(started, chunk, tell)
    one_floor(started, seconds)
    limits = limits.better(measure_limits(backends, device))
    floor = seconds.get(FLOOR)
    if device != "cpu" and not only_ours:
        floor = np.array(limits.step_ms(work) / 1e3)
    rows = make_timings(name, device, started, seconds, floor)
    return Measured(name, device, rows, seconds, failed | late, limits.step_ms(work))


def begin_checked(
    work: Workload,
    routes: Mapping[str, tuple[BenchBackend, Route]],
    backends: Mapping[str, BenchBackend],
    chunk: Chunk,
    device: str,
    tell: Tell,
) -> tuple[dict[str, Started], dict[str, str]]:
    """Start every route whose losses show that it does the work; what is wrong with the others, by name.

    With noise that is given the losses have to be equal, step after step (`check_exact`). Routes that
    draw their own, and the others once more, have to come to the expected mean (`check_expected`).
    """
    moved = replace(work, rate=CHECKED_RATE)
    made = {n: r for b in backends.values() for n, r in b.routes(moved, device).items() if r.exact}
    slow = {name for name, route in made.items() if route.compiler}
    losses, failed = take_checked(work, {n: r for n, r in made.items() if n not in slow}, tell)
    failed |= check_exact(work, losses)
    started, more = begin_all(
        {
            name: (backend, checked_first(work, route) if name in slow else route)
            for name, (backend, route) in routes.items()
            if name not in failed
        },
        chunk,
        device,
        tell,
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


def make_timings(
    size: str,
    device: str,
    started: Mapping[str, Started],
    seconds: Mapping[str, Array],
    floor: Array | None,
) -> list[Timing]:
    """One `Timing` for each way that was started, in the order of `started`; `floor` in seconds of a step."""
    return [
        Timing(
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
    name: str,
    case: Any,
    backends: Mapping[str, BenchBackend],
    device: str,
    tell: Tell = lambda text: None,
) -> Measured:
    """Time the ways to train both programs of a `Case`, side by side.

    Raises InputError for a program that is broken: whose first way to train is. The others may ask more
    of a program (that it can be traced), and are told and left out.
    """
    routes: dict[str, tuple[BenchBackend, Route]] = {}
    least = set()  # that ask least of a program
    for which, program in (("first", case.first), ("second", case.second)):
        backend = backends[program.framework]
        if device in backend.devices():
            found = backend.program_routes(program, case, device)
            least.add(f"{which}: {next(iter(found))}")
            routes |= {f"{which}: {title}": (backend, route) for title, route in found.items()}

    def told(title: str) -> AbstractContextManager[object]:
        what = f"{title}: {name} cannot be run"
        return told_in_user_terms(what) if title in least else nullcontext()

    short = _case_chunk(FEWEST_STEPS)
    started, failed = begin_all(routes, short, device, tell, told)
    quick = [timed(partial(s.run, short))[1] for s in started.values()]
    chunk = _case_chunk(block_steps(min(quick, default=1.0) / FEWEST_STEPS))
    seconds, late = take_turns(started, chunk, tell)
    losses = {title: float(np.mean(s.run(chunk))) for title, s in started.items()}
    rows = make_timings(name, device, started, seconds, None)
    return Measured(name, device, rows, seconds, failed | late, losses=losses)


def _case_chunk(steps: int) -> Chunk:
    """Steps on a case's own arguments."""
    return Chunk(0, np.zeros((steps, 0), np.int64), np.full(steps, CASE_RATE), {})
