"""The benchmark's pictures: time per step, and below it the total time of a number of steps, logarithmic.

Time per step of the standard sizes is against the work of a step, with the floor; of a user's cases side by
side. Total time is with compiling, in a panel for each size or case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinplate.bench.measure import FLOOR, Measured
from twinplate.bench.totals import STEPS, to_pick, total_seconds
from twinplate.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From Okabe and Ito's palette, distinct for all common kinds of colour vision.
FAMILIES = {
    "NumPyro, ours": "#0072B2",
    "NumPyro, stock": "#56B4E9",
    "JAX, hand": "#999999",
    "Pyro, ours": "#D55E00",
    "Pyro, stock": "#E69F00",
    "torch, hand": "#CC79A7",
}
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "D", "^", "v", "P")
CASE_WIDTH = 0.7  # of a case, where the next one is at 1: its ways stand beside one another
LETTERS_IN_A_ROW = 50  # of the names of cases below the axis; more of them are slanted
DPI = 150


def write_picture(path: Path, tables: Sequence[Measured], flops: Mapping[str, int]) -> None:
    """Write a PNG with one panel for each device. flops: of a step, by size. Raises InputError."""
    _write(path, tables, partial(_draw_sizes, flops=flops))


def write_cases(path: Path, tables: Sequence[Measured]) -> None:
    """Write a PNG with one panel for each device, a place on its axis for each case. Raises InputError."""
    _write(path, tables, _draw_cases)


def _write(
    path: Path, tables: Sequence[Measured], draw: Callable[[Axes, Sequence[Measured]], None]
) -> None:
    devices = sorted({table.device for table in tables})
    width = max(2 + 6.5 * len(devices), 1 + 3 * len(tables))
    figure = import_extra("matplotlib.figure", "matplotlib").Figure(
        figsize=(width, 10), layout="constrained"
    )
    above, below = figure.subfigures(2, 1, height_ratios=(5.5, 4.5))
    panels = above.subplots(1, len(devices), squeeze=False)[0]
    for axes, device in zip(panels, devices, strict=True):
        draw(axes, [table for table in tables if table.device == device])
        axes.set(yscale="log", ylabel="milliseconds", title=f"{device}: time per step")
        for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis(_plain)
        axes.grid(alpha=0.25, lw=0.5, which="both", axis="y")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, handlelength=5
    )
    names = _slowest_first(tables)
    totals = below.subplots(1, len(tables), squeeze=False, sharey=True)[0]
    for axes, table in zip(totals, tables, strict=True):
        _draw_totals(axes, table, names)
    totals[0].set(ylabel="seconds, compiling included")
    figure.savefig(path, dpi=DPI, format="png")


def _draw_sizes(axes: Axes, tables: Sequence[Measured], flops: Mapping[str, int]) -> None:
    sizes = dict(sorted(((t.size, flops[t.size]) for t in tables), key=lambda size: size[1]))
    names = _slowest_first(tables)
    for name in names:
        axes.plot(*_points(name, tables, sizes), label=name, **_style(name, names))
    limits = [(flops[t.size], t.limit_ms) for t in tables if t.limit_ms is not None]
    if limits:
        label = "limit: matrix products and Adam\nat the machine's own speed"
        axes.plot(
            *zip(*sorted(limits), strict=True), color="0.6", lw=1, ls=(0, (1, 2)), label=label
        )
    axes.set(
        xscale="log",
        xlim=(0.6 * min(sizes.values()), 1.7 * max(sizes.values())),
        xlabel="size (floating-point operations of a step's matrix products)",
    )
    axes.set_xticks(list(sizes.values()), [f"{n}\n{v:.1e}" for n, v in sizes.items()], minor=False)
    axes.set_xticks([], minor=True)


def _draw_cases(axes: Axes, tables: Sequence[Measured]) -> None:
    names = _slowest_first(tables)
    places = {table.size: float(i) for i, table in enumerate(tables)}
    for i, name in enumerate(names):
        x, y = _points(name, tables, places)
        shift = CASE_WIDTH * ((i + 0.5) / len(names) - 0.5)
        axes.plot([place + shift for place in x], y, label=name, **_mark(name, names))
    slanted: dict[str, Any] = (
        {"rotation": 30, "ha": "right"} if len("".join(places)) > LETTERS_IN_A_ROW else {}
    )
    axes.set_xticks(list(places.values()), list(places), **slanted)
    for border in range(1, len(places)):
        axes.axvline(border - 0.5, color="0.9", lw=1)
    times = [row.median_ms for table in tables for row in table.rows]
    axes.set(xlim=(-0.5, len(places) - 0.5), ylim=(0.5 * min(times), 2 * max(times)))


def _draw_totals(axes: Axes, table: Measured, names: Sequence[str]) -> None:
    """Total time of STEPS steps, as a curve for each way to pick; in the styles that `names` have above.

    A dot where a run of its own was; elsewhere it is computed.
    """
    dense = [10 ** (place / 20) for place in range(81)]
    for row in sorted(to_pick(table.rows), key=lambda row: names.index(row.name)):
        style = _style(row.name, names) | {"marker": ""}
        axes.plot(dense, [total_seconds(row, n) for n in dense], **style)
        inside = [mark for mark in row.totals if mark[0] <= STEPS[-1]]
        if inside:
            dots = {"marker": "o", "ms": 4, "ls": "none", "color": style["color"]}
            axes.plot(*zip(*inside, strict=True), **dots)
    title = f"{table.size} on {table.device}: total time"
    axes.set(xscale="log", yscale="log", xlabel="steps; dots are measured", title=title)
    axes.set_xticks(STEPS, [f"{n:,}" for n in STEPS])
    axes.yaxis.set_major_formatter(_plain)
    axes.grid(alpha=0.25, lw=0.5, axis="y")
    axes.spines[["top", "right"]].set_visible(False)


def _slowest_first(tables: Sequence[Measured]) -> list[str]:
    """The names of all ways; a legend in this order is one in the order of the marks."""
    names = dict.fromkeys(row.name for table in tables for row in table.rows)
    largest = {n: max(row.median_ms for t in tables if (row := t.row(n))) for n in names}
    return sorted(names, key=lambda name: -largest[name])


def _plain(value: float, _: float) -> str:
    """Plain numbers at 1, 2 and 5 times a power of ten; nothing at other ticks."""
    return f"{value:g}" if f"{value:.0e}"[0] in "125" else ""


def _points(
    name: str, tables: Sequence[Measured], places: Mapping[str, float]
) -> tuple[list[float], list[float]]:
    """By place: those, and the milliseconds."""
    found = sorted((places[t.size], row.median_ms) for t in tables if (row := t.row(name)))
    return [x for x, _ in found], [y for _, y in found]


def _family(name: str) -> str:
    """The one of FAMILIES, whichever program ("first: ") it is of; none: ""."""
    way = name.rpartition(": ")[2]
    return next((known for known in FAMILIES if way.startswith(known)), "")


def _within(name: str, names: Sequence[str]) -> int:
    """The place of `name` among those of its family: 0 for the first."""
    return [other for other in names if _family(other) == _family(name)].index(name)


def _style(name: str, names: Sequence[str]) -> dict[str, Any]:
    """A colour for the family, a line style within it; ours wide, the floor black, a higher one dashed."""
    if name.startswith(FLOOR):
        lowest = name == FLOOR
        return {
            "color": "black",
            "lw": 2 if lowest else 1,
            "ls": "-" if lowest else "--",
            "marker": "_",
        }
    return {
        "color": FAMILIES.get(_family(name), "0.3"),
        "ls": STYLES[_within(name, names) % len(STYLES)],
        "lw": 2.6 if "ours" in name else 1.4,
        "marker": "o",
        "ms": 4,
    }


def _mark(name: str, names: Sequence[str]) -> dict[str, Any]:
    """A colour for the family, a shape within it; ours large."""
    return {
        "color": FAMILIES.get(_family(name), "0.3"),
        "ls": "none",
        "marker": MARKERS[_within(name, names) % len(MARKERS)],
        "ms": 10 if "ours" in name else 7,
    }
