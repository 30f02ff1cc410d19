"""The benchmark's picture: time per step against the work of a step, both logarithmic, with the floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinplate.bench import FLOOR, Measured
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
DPI = 150


def write_picture(path: Path, tables: Sequence[Measured], flops: Mapping[str, int]) -> None:
    """Write a PNG with one panel for each device. flops: of a step, by size. Raises InputError."""
    devices = sorted({table.device for table in tables})
    figure = import_extra("matplotlib.figure", "matplotlib").Figure(
        figsize=(2 + 6.5 * len(devices), 5.5), layout="constrained"
    )
    panels = figure.subplots(1, len(devices), squeeze=False)[0]
    for axes, device in zip(panels, devices, strict=True):
        _draw(axes, [table for table in tables if table.device == device], flops)
        axes.set_title(f"{device}: time per step")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    figure.savefig(path, dpi=DPI, format="png")


def _draw(axes: Axes, tables: Sequence[Measured], flops: Mapping[str, int]) -> None:
    tables = sorted(tables, key=lambda table: flops[table.size])
    names = list(dict.fromkeys(row.name for table in tables for row in table.rows))
    largest = {n: max(_points(n, tables, flops)[1]) for n in names}
    for name in sorted(names, key=lambda name: -largest[name]):  # the legend in order of the lines
        x, y = _points(name, tables, flops)
        axes.plot(x, y, label=name, **_style(name, names))
    limits = [(flops[t.size], t.limit_ms) for t in tables if t.limit_ms is not None]
    if limits:
        label = "limit: matrix products and Adam\nat the machine's own speed"
        axes.plot(*zip(*limits, strict=True), color="0.6", lw=1, ls=(0, (1, 2)), label=label)
    sizes = {table.size: flops[table.size] for table in tables}
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(0.6 * min(sizes.values()), 1.7 * max(sizes.values())),
        ylabel="milliseconds",
        xlabel="size (floating-point operations of a step's matrix products)",
    )
    axes.set_xticks(list(sizes.values()), [f"{n}\n{v:.1e}" for n, v in sizes.items()], minor=False)
    axes.set_xticks([], minor=True)
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(_plain)
    axes.grid(alpha=0.25, lw=0.5, which="both", axis="y")
    axes.spines[["top", "right"]].set_visible(False)


def _plain(value: float, _: float) -> str:
    """Plain numbers at 1, 2 and 5 times a power of ten; nothing at other ticks."""
    return f"{value:g}" if f"{value:.0e}"[0] in "125" else ""


def _points(
    name: str, tables: Sequence[Measured], flops: Mapping[str, int]
) -> tuple[list[int], list[float]]:
    rows = [(flops[t.size], row.median_ms) for t in tables if (row := t.row(name)) is not None]
    return [x for x, _ in rows], [y for _, y in rows]


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
    family = next((known for known in FAMILIES if name.startswith(known)), "")
    within = [other for other in names if other.startswith(family)]
    return {
        "color": FAMILIES.get(family, "0.3"),
        "ls": STYLES[within.index(name) % len(STYLES)],
        "lw": 2.6 if "ours" in name else 1.4,
        "marker": "o",
        "ms": 4,
    }
