"""What `twinplate bench` has measured, as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from twinplate.bench.measure import FLOOR, Measured
from twinplate.bench.totals import STEPS, to_pick, totals_cells
from twinplate.pages.axes import Axis
from twinplate.pages.charts import bars
from twinplate.pages.skeleton import document, figure, table

OURS, STOCK, BY_HAND = 0, 1, 2  # numbers of the series
STYLE = ".advice { padding: .9rem 1.2rem; } .advice li { margin-top: .3rem; }"


def bench_page(
    tables: Sequence[Measured], advice: Mapping[str, Sequence[str]], terms: Sequence[str]
) -> str:
    """The page. advice: what to pick, by size or case.  terms: on which it was measured, in sentences."""
    picks = "".join(_advice(name, lines) for name, lines in advice.items())
    shown = "".join(_section(measured) for measured in tables if measured.rows)
    said = "".join(f"<li>{escape(line)}</li>" for line in terms)
    return document(
        "twinplate bench",
        '<main>\n<header class="card headline same"><span class="verdict">measured</span>'
        f"<h1>Every way to train, on this machine</h1></header>\n{picks}{shown}"
        f'<h2>On which terms</h2><ul class="card advice">{said}</ul>\n</main>',
        STYLE,
    )


def _advice(name: str, lines: Sequence[str]) -> str:
    first, *rest = (escape(line.strip()) for line in lines)
    listed = "".join(f"<li>{line}</li>" for line in rest)
    return (
        f'<h2>What to pick: {escape(name)}</h2><section class="card advice" '
        f'aria-label="What to pick: {escape(name)}"><strong>{first}</strong><ul>{listed}</ul></section>\n'
    )


def _section(measured: Measured) -> str:
    where = f"{measured.size} on {measured.device}"
    rows = sorted(measured.rows, key=lambda row: row.median_ms)
    slowest = rows[-1].median_ms
    picture = bars(
        f"Milliseconds per step, {where}",
        Axis(0.0, 1.25 * slowest, "milliseconds per step"),
        [(row.name, [row.median_ms], _series(row.name)) for row in rows],
    )
    cells = [
        (
            escape(row.name),
            f"{row.median_ms:.3g}",
            f"{row.spread_ms:.2g}",
            "–" if row.ratio_to_floor is None else f"{row.ratio_to_floor:.2f}",
            f"{row.compile_s:.1f}",
            f"{row.peak_mb:,.1f}",
        )
        for row in rows
    ]
    head = ("way to train", "ms per step", "spread", "÷ floor", "compile s", "peak MB")
    failed = "".join(
        f"<p>Not measured: {escape(name)}: {escape(why)}</p>"
        for name, why in measured.failed.items()
    )
    caption = "Median time of a step, the fastest first. Blue: ours; orange: stock; green: by hand."
    return (
        f'<h2>{escape(where)}</h2><div class="figures">{figure(picture, caption)}</div>'
        f"{table(f'Ways to train, {where}', head, cells)}{_totals(measured, where)}{failed}\n"
    )


def _totals(measured: Measured, where: str) -> str:
    if not any(row.totals for row in measured.rows):
        return ""
    rows = [(escape(row.name), *totals_cells(row)) for row in to_pick(measured.rows)]
    head = ("way to train", *(f"{n:,} steps" if n > 1 else "1 step" for n in STEPS))
    title = f"Seconds in all, compiling included, {where}; ~ computed from the time per step"
    return table(title, head, rows)


def _series(name: str) -> int:
    if "ours" in name:
        return OURS
    return BY_HAND if "hand" in name or name.startswith(FLOOR) else STOCK
