"""How long the first n steps take, compiling included: measured as far as a run went, and computed beyond."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinplate.bench.measure import FLOOR, Timing

STEPS = (1, 10, 100, 1_000, 10_000)  # whose total time is told


def total_seconds(row: Timing, steps: float) -> float:
    """Compiling, and then training for `steps` steps."""
    if not row.totals:
        return row.compile_s + steps * row.median_ms / 1e3
    numbers, seconds = zip(*row.totals, strict=True)
    if steps <= numbers[-1]:
        return float(np.interp(steps, numbers, seconds))
    return float(seconds[-1]) + (steps - numbers[-1]) * row.median_ms / 1e3


def is_measured(row: Timing, steps: float) -> bool:
    """Whether a run of that way came as far, in a process of its own."""
    return measured_steps(row) >= steps


def measured_steps(row: Timing) -> int:
    """How many steps a run of its own took; 0 for none."""
    return row.totals[-1][0] if row.totals else 0


def first_step_seconds(row: Timing) -> float:
    """To the first result, beyond the time of a later step where no run of its own says more."""
    return row.totals[0][1] if row.totals else row.compile_s


def seconds_besides(row: Timing) -> float:
    """What a long run takes besides its steps: compiling, or slower steps before it was done."""
    last = measured_steps(row)
    return total_seconds(row, last) - last * row.median_ms / 1e3


def to_pick(rows: Sequence[Timing]) -> list[Timing]:
    """The ways that are not written by hand."""
    return [row for row in rows if "hand" not in row.name and not row.name.startswith(FLOOR)]


def shortest_ways(rows: Sequence[Timing]) -> list[tuple[int, int, Timing]]:
    """For neighbours among STEPS the way that takes the least time in all: the first, the last, the way."""
    found: list[tuple[int, int, Timing]] = []
    for steps in STEPS:
        best = min(rows, key=lambda row: total_seconds(row, steps))
        if found and found[-1][2] is best:
            found[-1] = found[-1][0], steps, best
        else:
            found.append((steps, steps, best))
    return found


def totals_cells(row: Timing) -> list[str]:
    """Seconds for each of STEPS; "~" before what is computed."""
    return [
        f"{'' if is_measured(row, n) else '~'}{total_seconds(row, n):.2g}"
        if total_seconds(row, n) < 10
        else f"{'' if is_measured(row, n) else '~'}{total_seconds(row, n):,.0f}"
        for n in STEPS
    ]
