"""A report in the terminal: the headline, a table by site, the findings."""

from __future__ import annotations

import io

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.outcome import Outcome
from twinplate.verification.reports.rows import MARKS, ReportRow, headline, rows, sentence, tested

COLOURS = {"same": "green", "note": "green", "unknown": "bright_black", "undecided": "yellow"}
VERDICT_COLOURS = {"same": "green", "undecided": "yellow"}  # red otherwise


def show(outcome: Outcome, console: Console) -> None:
    """Print headline, table and findings."""
    colour = VERDICT_COLOURS.get(outcome.verdict, "red")
    console.print(f"[bold {colour}]{escape(headline(outcome))}[/]")
    lines = list(rows(outcome))
    table = Table(header_style="bold")
    titles = (f"{which} ({getattr(outcome, which).framework})" for which in ("first", "second"))
    for title in ("", "site", "kind", *titles):
        table.add_column(title, overflow="fold")
    table.add_column("", no_wrap=True)
    cells = [_aligned(lines, which) for which in ("first", "second")]
    program = None
    for row, first, second in zip(lines, *cells, strict=True):
        if program not in (None, row.program):
            table.add_section()
        shown = "" if row.program == program else row.program
        program = row.program
        name = f"{row.name}\n→ {row.own}" if row.own else row.name
        mark = f"[{COLOURS.get(row.level, 'red')}]{MARKS[row.level]}[/]"
        table.add_row(*map(escape, (shown, name, row.kind, first, second)), mark)
    console.print(table)
    for finding in outcome.findings:
        _show_finding(finding, console)
    for line in tested(outcome):
        console.print(escape(line), highlight=False)


def _aligned(lines: list[ReportRow], which: str) -> list[str]:
    """Cells of one program as text: the bars between batch and event shape below each other."""
    cells = [getattr(row, which) for row in lines]
    batch = [len(cell.shape.partition("|")[0].strip()) for cell in cells if "|" in cell.shape]
    event = [len(cell.shape.partition("|")[2].strip()) for cell in cells if "|" in cell.shape]
    width, wide = max(batch, default=0), max(event, default=0)
    texts = []
    for cell in cells:
        shape = cell.shape
        if "|" in shape:
            left, _, right = shape.partition("|")
            shape = f"{left.strip():>{width}} | {right.strip():<{wide}}"
        texts.append(f"{shape}  {cell.detail}".rstrip())
    return texts


def _show_finding(finding: Finding, console: Console) -> None:
    draw = f" (draw {finding.draw})" if finding.draw else ""
    colour = COLOURS.get(finding.level, "red")
    console.print(f"[{colour}]{finding.level}[/]  {escape(sentence(finding))}{escape(draw)}")
    for which, shown in (("first", finding.first), ("second", finding.second)):
        if shown:
            indented = shown.replace("\n", "\n            ")
            console.print(f"    {which:7} {escape(indented)}", highlight=False)


def as_text(outcome: Outcome) -> str:
    """The report as plain text, 120 columns wide."""
    stream = io.StringIO()
    show(outcome, Console(file=stream, width=120, color_system=None, legacy_windows=False))
    return stream.getvalue()
