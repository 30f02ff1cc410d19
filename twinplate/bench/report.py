"""What `twinplate bench` says: tables, the targets, and which framework to pick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from rich.console import Console
from rich.table import Table

from twinplate.backends import BACKENDS
from twinplate.bench.measure import FLOOR, Measured, Timing
from twinplate.bench.timing import Interval
from twinplate.bench.totals import (
    STEPS,
    first_step_seconds,
    measured_steps,
    seconds_besides,
    shortest_ways,
    to_pick,
    total_seconds,
    totals_cells,
)
from twinplate.words import counted

NUMPYRO, PYRO, PYRO_REPLAYED = "NumPyro, ours", "Pyro, ours, compiled", "Pyro, ours, replayed"
STOCK_NUMPYRO, STOCK_PYRO = "NumPyro, stock", "Pyro, stock, SVI.step"
HAND_JAX, HAND_TORCH = "JAX, hand-written", "torch, hand-written, compiled"
AS_FAST = 1.1  # times the best: not worth changing frameworks for


@dataclass(frozen=True)
class Target:
    """A ratio of two ways to train and what it should be, by size.

    numerator, denominator: names of rows, or what the names of a family of rows begin with.
    bounds: by size; a size without a bound is shown and not judged.  least: the bounds are lower ones.
    A bound is met if the 95 % interval of the median reaches it.
    """

    title: str
    numerator: str
    denominator: str
    bounds: Mapping[str, float]
    least: bool = False

    def met(self, found: Interval, size: str) -> bool:
        """Whether the interval reaches the bound."""
        return self.keeps(found.high if self.least else found.low, size)

    def keeps(self, value: float, size: str) -> bool:
        """Whether the value itself keeps to the bound."""
        bound = self.bounds[size]
        return value >= bound if self.least else value <= bound


def bounds(small: float, middle: float, large: float) -> dict[str, float]:
    """Bounds of a target for the sizes S, M and L."""
    return {"S": small, "M": middle, "L": large}


TARGETS = (
    Target(
        "NumPyro ÷ hand-written JAX, same algorithm",
        NUMPYRO,
        f"{HAND_JAX}, packed",
        bounds(1.10, 1.05, 1.05),
    ),
    Target(
        "NumPyro ÷ hand-written JAX, best algorithm",
        NUMPYRO,
        HAND_JAX,
        bounds(1.15, 1.10, 1.10),
    ),
    Target(
        "stock NumPyro, filled ÷ ours",
        f"{STOCK_NUMPYRO}, filled",
        NUMPYRO,
        bounds(1.0, 1.4, 1.4),
        least=True,
    ),
    Target("stock NumPyro, scatter ÷ ours", f"{STOCK_NUMPYRO}, scatter", NUMPYRO, {}, least=True),
    Target(
        "compiled Pyro ÷ hand-written torch, compiled", PYRO, HAND_TORCH, bounds(1.03, 1.03, 1.03)
    ),
    Target("stock Pyro ÷ ours, compiled", STOCK_PYRO, PYRO, bounds(5.0, 2.2, 2.5), least=True),
    Target("stock Pyro ÷ ours, replayed", STOCK_PYRO, PYRO_REPLAYED, {}, least=True),
)


def show_table(measured: Measured, console: Console) -> None:
    """The table of one size and device, and what could not be measured."""
    floor = any(row.ratio_to_floor is not None for row in measured.rows)
    columns = ["ms per step", "spread", "÷ floor" if floor else "÷ fastest", "compile s", "peak MB"]
    if measured.limit_ms is not None:
        columns.append("of the limit")
    if measured.losses:
        columns.append("loss")
    table = Table(title=f"{measured.size} on {measured.device}", title_justify="left")
    table.add_column("way to train")
    for column in columns:
        table.add_column(column, justify="right")
    rows = sorted(measured.rows, key=lambda row: row.median_ms)
    for row in rows:
        cells = [f"{row.median_ms:.3g}", f"{row.spread_ms:.2g}", _ratio(measured, row, rows[0])]
        cells += [f"{row.compile_s:.1f}", f"{row.peak_mb:,.1f}"]
        if measured.limit_ms is not None:
            cells.append(f"{measured.limit_ms / row.median_ms:.0%}")
        if measured.losses:
            cells.append(f"{measured.losses[row.name]:.6g}")
        style = "bold" if "ours" in row.name else "dim" if row.name == FLOOR else None
        table.add_row(row.name, *cells, style=style)
    console.print(table)
    show_failed(measured.failed, console)


def show_failed(failed: Mapping[str, str], console: Console) -> None:
    """What could not be measured, and why, by name."""
    for name, why in failed.items():
        console.print(f"not measured: {name}: {why}", highlight=False, markup=False)


def _ratio(measured: Measured, row: Timing, fastest: Timing) -> str:
    """To the floor, and where there is none to the fastest way."""
    if row.ratio_to_floor is not None:
        return f"{row.ratio_to_floor:.2f}"
    found = measured.ratio(row.name, fastest.name)
    return "" if found is None else f"{found.median:.2f}"


def show_targets(tables: Sequence[Measured], console: Console) -> None:
    """Every target at every size, with the interval of the median of the rounds' ratios."""
    tables = [table for table in tables if table.size in "SML"]
    if not tables:
        return
    shown = Table(title="Ratios, round by round: median (95 % interval)", title_justify="left")
    shown.add_column("ratio")
    for measured in tables:
        shown.add_column(f"{measured.size} on {measured.device}")
    for target in TARGETS:
        shown.add_row(target.title, *(_cell(target, measured) for measured in tables))
    console.print(shown)


def outcome(target: Target, measured: Measured) -> tuple[Interval | None, bool | None]:
    """The ratio, None if it was not measured; whether the target is met, None if there is none."""
    found = measured.ratio(target.numerator, _best(target.denominator, measured))
    if found is None or measured.size not in target.bounds:
        return found, None
    return found, target.met(found, measured.size)


def _cell(target: Target, measured: Measured) -> str:
    found, met = outcome(target, measured)
    if found is None:
        return "not measured"
    if met is None:
        return str(found)
    sign = "≥" if target.least else "≤"
    bound = f"{sign} {target.bounds[measured.size]:g}"
    reached = "met" if target.keeps(found.median, measured.size) else "met by the interval only"
    return f"{found} {bound} {reached if met else 'NOT met'}"


def _best(name: str, measured: Measured) -> str:
    """The fastest row of that family, "JAX, hand-written" for instance; itself if it is a row."""
    rows = [row for row in measured.rows if row.name.startswith(name)]
    return min(rows, key=lambda row: row.median_ms).name if rows else name


def show_totals(measured: Measured, console: Console) -> None:
    """Seconds of whole runs of the ways that can be picked, by their numbers of steps."""
    if not any(row.totals for row in measured.rows):
        return
    title = (
        f"{measured.size} on {measured.device}: seconds in all; ~ computed from the time per step"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("steps")
    for steps in STEPS:
        table.add_column(f"{steps:,}", justify="right")
    for row in sorted(to_pick(measured.rows), key=lambda row: total_seconds(row, STEPS[-1])):
        table.add_row(row.name, *totals_cells(row), style="bold" if "ours" in row.name else None)
    console.print(table)


def recommend(rows: Sequence[Timing], steps: int, missing: Sequence[str] = ()) -> list[str]:
    """Sentences: what to pick for `steps` steps, how long each takes, and why.

    rows: the ways to choose from, of any device.  missing: backends that are not installed.
    """
    if not rows:
        return ["Nothing could be measured, so nothing can be recommended."]
    ordered = sorted(rows, key=lambda row: total_seconds(row, steps))
    best = ordered[0]
    shortest = total_seconds(best, steps)
    lines = [f"For {counted(steps, 'step')} pick {_called(best)}: {_time(best, steps)}."]
    for row in ordered[1:]:
        times = total_seconds(row, steps) / shortest
        close = " (about as fast)" if times <= AS_FAST else ""
        lines.append(f"{_called(row)}: {_time(row, steps)}, {times:.1f} times as long{close}.")
        fewest, most = first_choice(row, [other for other in rows if other is not row])
        if steps < fewest <= most:
            start = f"{fewest:,} steps on" if most == inf else f"{fewest:,} to {most:,} steps"
            lines.append(
                "  It compiles for longer but each step is shorter: "
                f"from {start} it would be the first choice."
            )
    for device in sorted({row.device for row in rows}):
        known = {row.name: row for row in rows if row.device == device}
        if {PYRO, PYRO_REPLAYED} <= known.keys():
            turn = break_even(known[PYRO_REPLAYED], known[PYRO])
            when = "never pays" if turn is None else f"pays from {turn:,} steps on"
            lines.append(f"In Pyro on {device}, machine code {when}.")
    if any(row.totals for row in rows):
        spans = "; ".join(_span(*found) for found in shortest_ways(rows))
        lines.append(f"Shortest in all, compiling included: {spans}.")
    return lines + [not_installed(backend) for backend in missing]


def _span(first: int, last: int, row: Timing) -> str:
    many = f"{first:,} to {last:,} steps" if last > first else counted(first, "step")
    return f"{many} {_called(row)}"


def first_choice(row: Timing, others: Sequence[Timing]) -> tuple[int, float]:
    """The fewest and the most steps for which `row` takes the least time of all.

    The most are infinite where it stays the first choice, below the fewest where it never is.
    """
    fewest, most = 1, inf
    for other in others:
        earliest, latest = break_even(other, row), break_even(row, other)
        if earliest is not None:
            fewest = max(fewest, earliest)
        elif latest is not None:
            most = min(most, latest - 1)
        elif seconds_besides(row) >= seconds_besides(
            other
        ):  # steps take as long, and compiling is no shorter
            most = 0
    return fewest, most


def break_even(best: Timing, other: Timing) -> int | None:
    """Steps from which `other` takes less time than `best`; None if it never does."""
    gained = best.median_ms - other.median_ms
    if gained <= 0:
        return None
    more = seconds_besides(other) - seconds_besides(best)
    return max(int(more * 1e3 / gained) + 1, 1)


def missing_backends(available: Sequence[str]) -> list[str]:
    """The backends that are not among the `available` ones."""
    return [name for name in BACKENDS if name not in available]


def not_installed(backend: str) -> str:
    """One sentence: `backend` is not installed, and how to install it."""
    return f"{backend} is not installed and was not measured; pip install 'twinplate[{backend}]'"


def _called(row: Timing) -> str:
    return f"{row.name} on {row.device}"


def _time(row: Timing, steps: int) -> str:
    reached = min(measured_steps(row), steps)
    measured = f"; {counted(reached, 'step')} measured" if reached else ""
    return (
        f"{total_seconds(row, steps):.3g} s ({first_step_seconds(row):.2g} s to the first step, "
        f"{row.median_ms:.3g} ms per step{measured})"
    )
