"""A report for people: the headline, a table by site, the findings; in the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from twinplate.records.record import Parameter, Run, Site
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.pipeline import Report, compared
from twinplate.verification.comparison.structure import format_shapes

MARKS = {
    "same": "✓",
    "note": "✓ note",
    "unknown": "not compared",
    "undecided": "? undecided",
    "difference": "✗ differs",
    "execution": "✗ fails here",
}
COLOURS = {"same": "green", "note": "green", "unknown": "bright_black", "undecided": "yellow"}
VERDICT_COLOURS = {"same": "green", "undecided": "yellow"}  # red otherwise
HEADLINES = {
    "same": "SAME at the tested inputs, parameters and draws",
    "differs": "DIFFERS",
    "undecided": "UNDECIDED",
    "could not run": "COULD NOT RUN",
}


@dataclass(frozen=True)
class Cell:
    """What one program shows at a place: a shape ("5 | 3"; a number for the loss), and what else."""

    shape: str
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table: a site or a parameter, what each program shows, and how they compare.

    own: the name it has in the second program, if that is another.
    """

    program: str
    name: str
    own: str
    kind: str
    first: Cell
    second: Cell
    level: str


def headline(report: Report) -> str:
    """The verdict and the first finding behind it, in one line."""
    text = HEADLINES[report.verdict]
    if report.findings and not report.ok:
        text += f": {sentence(report.findings[0])}".split("\n")[0]  # frameworks write at length
    return text


def sentence(finding: Finding) -> str:
    """A finding as a sentence that starts with its place."""
    return f"{place(finding)}: {finding.message}"


def place(finding: Finding) -> str:
    """Where a finding is, in words: "log density of model site x"."""
    stage, name = finding.stage, finding.site
    if finding.program == "loss":
        what = {"gradient": "gradient of the loss in ", "parameter": "parameter "}.get(stage, "")
        return f"{what}{name}" if what else f"{stage} {name}".strip()
    where = f"{finding.program} site {name}" if name else finding.program
    what = {"density": "log density of ", "value": "value of "}.get(stage, "")
    return f"{what}{where}" if what else f"{stage}, {where}"


def rows(report: Report) -> Iterator[Row]:
    """Sites of the model, of the guide, and parameters, in execution order."""
    runs = first_run(report, "first"), first_run(report, "second")
    for program in ("model", "guide"):
        mine, theirs = (getattr(run, program) for run in runs)
        for name in {**mine, **theirs}:
            a, b = mine.get(name), theirs.get(name)
            yield _row(report, program, name, (a or b).kind, _site(a), _site(b))
    mine, theirs = (run.parameters for run in runs)
    for name in {**mine, **theirs}:
        cells = [_parameter(p.get(name)) for p in (mine, theirs)]
        yield _row(report, "loss", name, "parameter", *cells)
    kind = objective(report)
    yield _row(report, "loss", "", kind, *(_loss(run) for run in runs))


def objective(report: Report) -> str:
    """What the programs' loss is: the ELBO's name, or the potential energy where neither has a guide."""
    has_guide = report.first.has_guide or report.second.has_guide
    return report.first.settings.loss if has_guide else "potential energy"


def _row(report: Report, program: str, name: str, kind: str, first: Cell, second: Cell) -> Row:
    own = report.second.names.get(name, "")
    return Row(program, name, own, kind, first, second, level(report, program, name))


def first_run(report: Report, which: str) -> Run:
    """The first draw's double-precision run of the "first" or "second" program."""
    record = getattr(report, which)
    run: Run = record.runs[next(iter(record.settings.draws)), "float64"]
    return run


ABSENT = Cell("–")
STOPPED = ("execution", "difference")


def _site(site: Site | None) -> Cell:
    if site is None:
        return ABSENT
    return Cell(format_shapes(site), ", ".join(f"{p.name}({p.dim})" for p in site.plates))


def _parameter(parameter: Parameter | None) -> Cell:
    if parameter is None:
        return ABSENT
    return Cell(" ".join(map(str, parameter.value.shape)) or "()", parameter.constraint)


def _loss(run: Run) -> Cell:
    return ABSENT if run.loss is None else Cell(" ".join(f"{v:.9g}" for v in run.loss.flat))


def level(report: Report, program: str, name: str) -> str:
    """The gravest level among the findings at a place; "execution" where a program stops.

    Without any finding "same", or "unknown" where the program stopped before its numbers were known.
    """
    here = [f for f in report.findings if (f.program, f.site) == (program, name)]
    found = {"execution" if (f.stage, f.level) == STOPPED else f.level for f in here}
    stopped = any(first_run(report, which).failure for which in ("first", "second"))
    grave = ("execution", "difference", "undecided", "note")
    return next((x for x in grave if x in found), "unknown" if stopped else "same")


# -- in the terminal ----------------------------------------------------------------------------------


def show(report: Report, console: Console) -> None:
    """Print headline, table and findings."""
    colour = VERDICT_COLOURS.get(report.verdict, "red")
    console.print(f"[bold {colour}]{escape(headline(report))}[/]")
    lines = list(rows(report))
    table = Table(header_style="bold")
    titles = (f"{which} ({getattr(report, which).framework})" for which in ("first", "second"))
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
    for finding in report.findings:
        _show_finding(finding, console)
    for line in tested(report):
        console.print(escape(line), highlight=False)


def _aligned(lines: list[Row], which: str) -> list[str]:
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


def tested(report: Report) -> list[str]:
    """What the verdict rests on: draws and loss, then the versions of both programs."""
    settings, draws = report.first.settings, compared(report.first, report.second)
    particles = f", {settings.particles} particles" if settings.particles > 1 else ""
    lines = [f"Tested: draws {', '.join(draws)}; {objective(report)}{particles}"]
    both = dict(report.first.versions.items() & report.second.versions.items())
    both.pop("device", None)
    lines += [
        f"{which:7} {versions(getattr(report, which).versions, both)}"
        for which in ("first", "second")
    ]
    if both:
        lines.append(f"both    {versions(dict(sorted(both.items())), {})}")
    return lines


def versions(found: dict[str, str], known: dict[str, str]) -> str:
    """Versions but those already known, and the device once: "torch 2.13.0, pyro 1.9.2 on cpu"."""
    listed = [f"{n} {v}" for n, v in found.items() if n != "device" and known.get(n) != v]
    device = " ".join(dict.fromkeys(found.get("device", "").split()))  # JAX says "cpu cpu"
    return ", ".join(listed) + (f" on {device}" if device else "")


def as_text(report: Report) -> str:
    """The report as plain text, 120 columns wide."""
    stream = io.StringIO()
    show(report, Console(file=stream, width=120, color_system=None, legacy_windows=False))
    return stream.getvalue()
