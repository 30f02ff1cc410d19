"""The zoo's summary table and picture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from reporting import print_table
from zoo_problems import KINDS

Row = dict[str, Any]
CLOSE = 0.01  # nat per item from maximum likelihood
LEAST = 1e-5  # nat per item: what is drawn lowest
COLUMNS = ["problems", "whose", "runs", "diverged", "excursions", "unhealed"]
COLUMNS += ["gap", "worst", f"≤ {CLOSE}", "missed", "worst"]


def print_summary(rows: list[Row]) -> None:
    """Counts and gaps, for each number of steps, half of the zoo, healthy and sick apart; then by kind."""
    lines = []
    for (steps, half, healthy), group in grouped(rows):
        name = f"{'healthy' if healthy else 'sick'}, {steps:,} steps\n{half}"
        lines.append([name, *_both(group)])
    print_table("The zoo; nats per item. Medians: where neither diverged", COLUMNS, lines)
    print_table("By kind", COLUMNS, list(_by_kind(rows)))


def _both(group: list[Row]) -> list[str]:
    """Cells of two lines: ours above, stock below."""
    return ["\n".join(pair) for pair in zip(cells(group, ""), cells(group, "stock_"), strict=True)]


def _by_kind(rows: list[Row]) -> Iterable[list[str]]:
    for kind, framework in itertools.product(KINDS, sorted({row["framework"] for row in rows})):
        group = [row for row in rows if (row["kind"], row["framework"]) == (kind, framework)]
        if group:
            yield [f"{kind}\n{framework}", *_both(group)]


def grouped(rows: list[Row]) -> Iterable[tuple[tuple[int, str, bool], list[Row]]]:
    """The rows of each number of steps and half, of both frameworks, healthy before sick."""

    def key(row: Row) -> tuple[int, str, bool]:
        return row["steps"], row["half"], row["healthy"]

    for values in sorted({key(row) for row in rows}, key=lambda k: (k[0], not k[2], k[1])):
        yield values, [row for row in rows if key(row) == values]


def cells(group: list[Row], prefix: str) -> list[str]:
    """One line of a table: ours, or with the prefix "stock_" the stock recipe's."""

    def total(name: str) -> str:
        return str(sum(row[prefix + name] for row in group))

    both = [row for row in group if not row["diverged"] and not row["stock_diverged"]]
    sound = [row for row in group if not row[f"{prefix}diverged"]]
    learned = [row for row in group if row["learned"]]
    close = [row for row in learned if row in sound and row[f"{prefix}gap"] <= CLOSE]
    gap, missed = (
        [_number(both, prefix + name, np.median), _number(sound, prefix + name, max)]
        for name in ("gap", "missed")
    )
    return [
        "stock" if prefix else "ours",
        str(len(group)),
        *(total(name) for name in ("diverged", "excursions", "unhealed")),
        *gap,
        f"{len(close)} of {len(learned)}",
        *missed,
    ]


def _number(rows: list[Row], name: str, of: Callable[[list[float]], Any]) -> str:
    return f"{of([row[name] for row in rows]):.4f}" if rows else "–"


def draw(rows: list[Row], path: Path) -> None:
    """Gap to maximum likelihood and what the guide misses, kind by kind, a column for each framework."""
    from matplotlib.figure import Figure

    frameworks = sorted({row["framework"] for row in rows})
    figure = Figure(figsize=(7.5 * len(frameworks), 8), layout="constrained")
    grid = figure.subplots(2, len(frameworks), squeeze=False, sharey="row", sharex=True)
    panels = {
        "gap": "behind maximum likelihood (learned loadings)",
        "missed": "missed by the guide",
    }
    for (line, (name, title)), column in itertools.product(
        enumerate(panels.items()), range(len(frameworks))
    ):
        axes, framework = grid[line, column], frameworks[column]
        here = [row for row in rows if row["framework"] == framework]
        here = [row for row in here if row["learned"] or name == "missed"]
        for prefix, shift, colour in (("", -0.2, "tab:blue"), ("stock_", 0.2, "tab:orange")):
            _strip(axes, here, prefix, name, shift, colour)
        axes.set_yscale("log")
        axes.set_title(f"{framework}: {title}")
        axes.set_xticks(range(len(KINDS)), list(KINDS), rotation=60)
        axes.grid(axis="y", alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("nats per item")
    for axes in grid[0]:
        axes.axhline(CLOSE, color="grey", linewidth=0.8)
    labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=100)


def _strip(axes: Any, rows: list[Row], prefix: str, name: str, shift: float, colour: str) -> None:
    """A dot for each run, and a cross at the top for one that diverged."""
    top = 1e3
    kinds = list(KINDS)
    sound = [row for row in rows if not row[f"{prefix}diverged"]]
    died = [row for row in rows if row[f"{prefix}diverged"]]
    for group, marker, label in ((sound, "o", ""), (died, "x", ", diverged")):
        kinds_of = [kinds.index(row["kind"]) for row in group]
        places = [
            k + shift + 0.25 * (kinds_of[:i].count(k) / max(kinds_of.count(k), 1) - 0.5)
            for i, k in enumerate(kinds_of)
        ]
        heights = [top if row in died else max(row[prefix + name], LEAST) for row in group]
        label = f"{'stock' if prefix else 'ours'}{label}"
        size = 18 if marker == "o" else 30
        axes.scatter(places, heights, s=size, marker=marker, color=colour, label=label, alpha=0.7)
