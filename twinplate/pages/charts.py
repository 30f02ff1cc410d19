"""Charts as inline SVG, in the colours of the page: curves, bars, intervals and heat maps.

Each is drawn for a width of about 22 rem, so that its words stay legible on a phone; `label` is its
text for who does not see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

import numpy as np

from twinplate.pages.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    across,
    up,
)
from twinplate.pages.style import SERIES

DASHES = ("", "7 3", "2 3", "9 3 2 3")  # beside the colours, which come again after SERIES of them
LEVELS = 20  # of a colour in a heat map
NUMBERED = 6  # rows of a heat map at most whose numbers have room
ROW = 22  # height of a row of bars or intervals
LETTER, LETTERS = 7, 30  # width of a letter, and how many of the name of a row are shown


@dataclass(frozen=True)
class Curve:
    """x, y: (n,).  number: of the series, from 0, which decides its colour.  band: (low, high), or none."""

    x: np.ndarray
    y: np.ndarray
    number: int
    band: tuple[np.ndarray, np.ndarray] | None = None


# Of intervals, one for each row: low, middle and high, and the number of the series or None.
Drawn: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, int | None]


def colour(number: int) -> str:
    """That of a series."""
    return f"var(--series{number % SERIES + 1})"


def swatch(number: int) -> str:
    """A short line in the colour and the dashes of a series, to stand beside its name."""
    return f'<svg class="swatch" viewBox="0 0 28 10" aria-hidden="true">{_stroke(number, "M1 5H27")}</svg>'


def curves(
    label: str,
    x: Axis,
    y: Axis,
    drawn: Sequence[Curve],
    levels: Iterable[tuple[str, float]] = (),
) -> str:
    """Curves over x, and horizontal lines with their names at `levels`."""
    parts = [_frame(x, y)]
    for curve in drawn:
        if curve.band is not None:
            edge = [
                *_points(x, y, curve.x, curve.band[0]),
                *_points(x, y, curve.x, curve.band[1])[::-1],
            ]
            shape = " ".join(edge)
            parts.append(f'<polygon points="{shape}" fill="{colour(curve.number)}" opacity=".16"/>')
        points = _points(x, y, curve.x, curve.y)
        parts.append(_stroke(curve.number, f"M{' '.join(points)}") if points else "")
    for name, value in levels:
        if y.low <= value <= y.high:
            at = float(up(y, np.array(value)))
            side = -5 if at > TOP + 16 else 14
            left = _room(x, y, drawn, at, name, left=True) > _room(
                x, y, drawn, at, name, left=False
            )
            place = f'" x="{LEFT + 4}"' if left else f' end" x="{WIDTH - RIGHT - 2}"'
            parts.append(
                f'<path class="level" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/><text class="said{place} '
                f'y="{at + side:.1f}">{escape(name)}</text>'
            )
    return _svg(label, parts)


def histogram(
    label: str,
    x: Axis,
    edges: np.ndarray,
    density: np.ndarray,
    curve: Curve,
    said: str = "density",
) -> str:
    """Bars of a density, and the curve that it should follow. said: what the bars are, at their axis."""
    y = Axis(0.0, 1.12 * float(max(density.max(), curve.y.max())), said)
    left, right = across(x, edges[:-1]), across(x, edges[1:])
    tops, floor = up(y, density), HEIGHT - BOTTOM
    bars = "".join(
        f"M{a:.1f} {floor}V{t:.1f}H{b:.1f}V{floor}z"
        for a, b, t in zip(left, right, tops, strict=True)
    )
    shown = f'<path d="{bars}" fill="{colour(curve.number)}" opacity=".45"/>'
    line = f'<path class="level" d="M{" ".join(_points(x, y, curve.x, curve.y))}"/>'
    return _svg(label, [_frame(x, y), shown, line])


def bars(label: str, x: Axis, rows: Sequence[tuple[str, Sequence[float], int]]) -> str:
    """A row for each name: parts beside one another, the first pale, the last with the sum beside it."""
    height = TOP + len(rows) * ROW + BOTTOM
    edge = _edge([name for name, *_ in rows])
    parts = [_frame(x, None, height, edge)]
    for place, (name, values, number) in enumerate(rows):
        top, start = TOP + place * ROW + 4, x.low
        for i, value in enumerate(values):
            left, right = across(x, np.array([start, start + value]), edge)
            opacity = ".45" if i < len(values) - 1 else "1"
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{max(right - left, 0):.1f}" height="{ROW - 8}" '
                f'fill="{colour(number)}" opacity="{opacity}"/>'
            )
            start += value
        parts.append(
            f'<text class="end" x="{edge - 6}" y="{top + 12}">{escape(_short(name))}</text>'
            f'<text class="said" x="{float(across(x, np.array(start), edge)) + 5:.1f}" y="{top + 12}">'
            f"{sum(values):.2g}</text>"
        )
    return _svg(label, parts, height)


def intervals(
    label: str,
    x: Axis,
    names: Sequence[str],
    drawn: Sequence[Drawn],
) -> str:
    """A row for each name, with an interval of each of `drawn`.

    None for the number of a series is the exact one, which is wide and pale.
    """
    height = TOP + len(names) * ROW + BOTTOM
    edge = _edge(names)
    parts = [_frame(x, None, height, edge)]
    middle = TOP + ROW * (np.arange(len(names)) + 0.5)
    for low, center, high, number in drawn:
        kind = 'class="exact" stroke-width="9" opacity=".35"' if number is None else ""
        kind = kind or f'stroke="{colour(number or 0)}" stroke-width="2.5"'
        ends = zip(across(x, low, edge), across(x, high, edge), middle, strict=True)
        parts.append(f'<path {kind} d="{"".join(f"M{a:.1f} {m:g}H{b:.1f}" for a, b, m in ends)}"/>')
        if number is not None:
            parts += [
                f'<circle cx="{c:.1f}" cy="{m:g}" r="3.5" fill="{colour(number)}"/>'
                for c, m in zip(across(x, center, edge), middle, strict=True)
            ]
    for name, m in zip(names, middle, strict=True):
        parts.append(
            f'<text class="end" x="{edge - 6}" y="{m + 4:g}">{escape(_short(name))}</text>'
        )
    return _svg(label, parts, height)


def heat_map(label: str, matrix: np.ndarray, title: str) -> str:
    """A square matrix of numbers from -1 to 1: its two colours as strong as they are large.

    The diagonal is left out. One path for each level of a colour: a hundred rows take some 100 KB. Up to
    NUMBERED rows have their numbers in the cells, and on the diagonal which row and column it is.
    """
    size = len(matrix)
    cell, levels = 200 / size, np.rint(np.clip(matrix, -1, 1) * LEVELS).astype(int)
    np.fill_diagonal(levels, 0)
    parts = [
        f'<text class="said" x="0" y="13">{escape(title)}</text><g transform="translate(0 20)">'
    ]
    parts.append('<rect class="empty" width="200" height="200"/>')
    parts.append(f'<g transform="scale({cell:.4g})">')
    for level in sorted({*levels.ravel().tolist()} - {0}):
        cells = "".join(f"M{j} {i}h1v1h-1z" for i, j in np.argwhere(levels == level))
        sign = "plus" if level > 0 else "minus"
        parts.append(f'<path fill="var(--{sign})" opacity="{abs(level) / LEVELS:g}" d="{cells}"/>')
    diagonal = "".join(f"M{i} {i}h1v1h-1z" for i in range(size))
    parts.append(f'<path fill="var(--line)" d="{diagonal}"/></g>')
    if size <= NUMBERED:
        parts += [
            f'<text class="said middle" x="{cell * (j + 0.5):.4g}" y="{cell * (i + 0.5) + 4:.4g}">'
            f"{i + 1 if i == j else f'{value:z.2f}'.replace('0.', '.')}</text>"
            for (i, j), value in np.ndenumerate(matrix)
        ]
    parts.append("</g>")
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 200 220">{"".join(parts)}</svg>'
    )


def _frame(x: Axis, y: Axis | None, height: int = HEIGHT, left: int = LEFT) -> str:
    floor, parts = height - BOTTOM, []
    for value, at in zip(x.ticks(), across(x, np.array(x.ticks()), left), strict=True):
        parts.append(
            f'<path class="tick" d="M{at:.1f} {TOP}V{floor}"/>'
            f'<text class="middle" x="{at:.1f}" y="{floor + 17}">{value:,.6g}</text>'
        )
    if y is not None:
        for value, at in zip(y.ticks(), up(y, np.array(y.ticks()), height), strict=True):
            parts.append(
                f'<path class="tick" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
                f'<text class="end" x="{LEFT - 6}" y="{at + 4:.1f}">{value:,.6g}</text>'
            )
        center = (TOP + floor) / 2
        parts.append(
            f'<text class="middle" transform="translate(13 {center:g}) rotate(-90)">{escape(y.label)}</text>'
        )
    center = (left + WIDTH - RIGHT) / 2
    parts.append(f'<text class="middle" x="{center:g}" y="{height - 8}">{escape(x.label)}</text>')
    return "".join(parts)


def _points(x: Axis, y: Axis, xs: np.ndarray, ys: np.ndarray) -> list[str]:
    """ "12.3,45.6" of every point that there is; what lies beyond the axis is at its end."""
    kept = np.isfinite(ys) & ((ys > 0) | (not y.log))
    inside = np.clip(up(y, ys[kept]), TOP, HEIGHT - BOTTOM)
    return [f"{a:.1f},{b:.1f}" for a, b in zip(across(x, xs[kept]), inside, strict=True)]


def _room(x: Axis, y: Axis, drawn: Sequence[Curve], at: float, name: str, *, left: bool) -> float:
    """How far the curves are from a level's name at this end of it; at most the height of the picture."""
    length, room = LETTER * len(name) + 8, float(HEIGHT)
    for curve in drawn:
        points = [point.split(",") for point in _points(x, y, curve.x, curve.y)]
        near = [
            abs(float(b) - at)
            for a, b in points
            if (float(a) < LEFT + length if left else float(a) > WIDTH - RIGHT - length)
        ]
        room = min([room, *near])
    return room


def _stroke(number: int, path: str) -> str:
    dashes = DASHES[number // SERIES % len(DASHES)]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path class="line" stroke="{colour(number)}"{dashed} d="{path}"/>'


def _edge(names: Sequence[str]) -> int:
    """Where rows begin, so that their names stand on the left."""
    return max(LEFT, 14 + LETTER * min(max(map(len, names)), LETTERS))


def _short(name: str) -> str:
    """What fits beside a row: the end of a name, which tells it from others."""
    return name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}"


def _svg(label: str, parts: Iterable[str], height: int = HEIGHT) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height}">'
        f"{''.join(parts)}</svg>"
    )
