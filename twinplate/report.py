"""A report for people: the headline, a table by site, the findings; in the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from twinplate.compare import Report
from twinplate.findings import Finding
from twinplate.record import Run, Site
from twinplate.structure import format_shapes

MARKS = {"same": "✓", "note": "✓ note", "undecided": "? undecided", "difference": "✗ differs"}
COLOURS = {"same": "green", "note": "green", "undecided": "yellow", "difference": "red"}
HEADLINES = {
    "same": "SAME at the tested inputs, parameters and draws",
    "differs": "DIFFERS",
    "undecided": "UNDECIDED",
    "could not run": "COULD NOT RUN",
}


@dataclass(frozen=True)
class Row:
    """One line of the table: a site or a parameter, what each program shows, and how they compare."""

    program: str
    name: str
    kind: str
    first: str
    second: str
    level: str


def headline(report: Report) -> str:
    """The verdict and the first finding behind it, in one line."""
    text = HEADLINES[report.verdict]
    if report.findings and not report.ok:
        text += f": {sentence(report.findings[0])}"
    return text


def sentence(finding: Finding) -> str:
    """A finding as a sentence that starts with its place."""
    where = f"{finding.program} {finding.site}".strip() if finding.site else finding.program
    return f"{finding.stage}, {where}: {finding.message}"


def rows(report: Report) -> Iterator[Row]:
    """Sites of the model, of the guide, and parameters, in execution order."""
    runs = first_run(report, "first"), first_run(report, "second")
    for program in ("model", "guide"):
        mine, theirs = (getattr(run, program) for run in runs)
        for name in {**mine, **theirs}:
            a, b = mine.get(name), theirs.get(name)
            kind = (a or b).kind
            yield Row(program, name, kind, _site(a), _site(b), level(report, program, name))
    for name in {**runs[0].parameters, **runs[1].parameters}:
        shown = []
        for run in runs:
            p = run.parameters.get(name)
            shown.append("–" if p is None else f"{tuple(p.value.shape)} {p.constraint}")
        yield Row("loss", name, "parameter", shown[0], shown[1], level(report, "loss", name))
    totals = [
        "–" if run.loss is None else " ".join(f"{v:.9g}" for v in run.loss.flat) for run in runs
    ]
    loss = report.first.settings.loss
    yield Row("loss", "", loss, totals[0], totals[1], level(report, "loss", ""))


def first_run(report: Report, which: str) -> Run:
    """The first draw's double-precision run of the "first" or "second" program."""
    record = getattr(report, which)
    return record.runs[next(iter(record.settings.draws)), "float64"]


def _site(site: Site | None) -> str:
    if site is None:
        return "–"
    plates = ", ".join(f"{p.name}({p.dim})" for p in site.plates)
    return f"{format_shapes(site)}  {plates}".strip()


def level(report: Report, program: str, name: str) -> str:
    """The gravest level among the findings at a place."""
    found = {f.level for f in report.findings if (f.program, f.site) == (program, name)}
    return next((x for x in ("difference", "undecided", "note") if x in found), "same")


def show(report: Report, console: Console) -> None:
    """Print headline, table and findings."""
    colour = {"same": "green", "undecided": "yellow"}.get(report.verdict, "red")
    console.print(f"[bold {colour}]{escape(headline(report))}[/]")
    table = Table(title=None, header_style="bold")
    columns = ("", "site", "kind", f"first ({report.first.framework})")
    for column in (*columns, f"second ({report.second.framework})", ""):
        table.add_column(column, overflow="fold")
    program = None
    for row in rows(report):
        if program not in (None, row.program):
            table.add_section()
        shown = "" if row.program == program else row.program
        program = row.program
        own = report.second.names.get(row.name)
        name = f"{row.name} ({own})" if own else row.name
        cells = [shown, name, row.kind, row.first, row.second]
        mark = f"[{COLOURS[row.level]}]{MARKS[row.level]}[/]"
        table.add_row(*map(escape, cells), mark)
    console.print(table)
    for finding in report.findings:
        _show_finding(finding, console)
    console.print(escape(tested(report)))


def _show_finding(finding: Finding, console: Console) -> None:
    draw = f" (draw {finding.draw})" if finding.draw else ""
    colour = COLOURS[finding.level]
    console.print(f"[{colour}]{finding.level}[/]  {escape(sentence(finding))}{escape(draw)}")
    for which, shown in (("first", finding.first), ("second", finding.second)):
        if shown:
            indented = shown.replace("\n", "\n            ")
            console.print(f"    {which:7} {escape(indented)}")


def tested(report: Report) -> str:
    """What the verdict rests on."""
    settings = report.first.settings
    particles = f", {settings.particles} particles" if settings.particles > 1 else ""
    objective = settings.loss if report.first.has_guide else "potential energy"
    return (
        f"Tested: draws {', '.join(settings.draws)}; {objective}{particles}; "
        f"{_versions(report.first.versions)} against {_versions(report.second.versions)}."
    )


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def as_text(report: Report) -> str:
    """The report as plain text, 120 columns wide."""
    stream = io.StringIO()
    show(report, Console(file=stream, width=120, color_system=None, legacy_windows=False))
    return stream.getvalue()
