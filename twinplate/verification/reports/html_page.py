"""A report as one HTML file: two programs side by side, green to red, the numbers on demand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape

import numpy as np

from twinplate.pages.skeleton import document
from twinplate.records.record import Array, Parameter, Site
from twinplate.verification.comparison.context import alike
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.numbers import DrawPair, densities
from twinplate.verification.comparison.outcome import Outcome
from twinplate.verification.comparison.places import Say, of_array, of_densities, of_particles
from twinplate.verification.reports.rows import (
    HEADLINES,
    MARKS,
    Cell,
    ReportRow,
    place,
    rows,
    tested,
    versions,
)
from twinplate.verification.reports.style import CSS

SHOWN = 5  # numbers of an array
TONES = {"same": "same", "undecided": "undecided"}  # of a verdict; a difference otherwise
PROGRAMS = {"model": "Model", "guide": "Guide", "loss": "Parameters and loss"}


def page(outcomes: Mapping[str, Outcome]) -> str:
    """One self-contained page: a report on each outcome, by the name of its case."""
    articles = "\n".join(
        _article(f"case{i}", name, outcome) for i, (name, outcome) in enumerate(outcomes.items())
    )
    title = ", ".join(f"{name}: {r.verdict}".lstrip(": ") for name, r in outcomes.items())
    return document(title, f"<main>\n{articles}\n</main>", CSS)


def _article(key: str, name: str, outcome: Outcome) -> str:
    parts = [_headline(name, outcome), *_findings(key, outcome), *_table(key, outcome)]
    return f"<article>\n{''.join(parts)}{_tested(outcome)}</article>"


def _headline(name: str, outcome: Outcome) -> str:
    verdict, _, _ = HEADLINES[outcome.verdict].partition(" at ")
    tone = TONES.get(outcome.verdict, "difference")
    text, why, more = "The programs agree at the tested inputs, parameters and draws", "", 0
    if outcome.findings and not outcome.ok:
        first, more = outcome.findings[0], len(outcome.findings) - 1
        text, *others = re.split(r"\n|(?<=[^.])\. ", f"{place(first)}: {first.message}", maxsplit=1)
        why = "".join(others)
    word = "note" if outcome.ok else "more finding"
    count = more or len(outcome.findings) * outcome.ok
    rest = f"{count} {word}{'s' * (count > 1)} below" if count else ""
    compared = " against ".join(r.framework for r in (outcome.first, outcome.second))
    because = f"<p>{escape(why)}</p>" if why else ""
    about = " · ".join(escape(part) for part in (name, compared, rest) if part)
    return (
        f'<header class="card headline {tone}"><span class="verdict">{verdict}</span>'
        f'<h1>{escape(text[:1].upper() + text[1:])}</h1>{because}<p class="soft">{about}</p></header>\n'
    )


# -- findings -----------------------------------------------------------------------------------------


def _findings(key: str, outcome: Outcome) -> Iterator[str]:
    if outcome.findings:
        yield "<h2>Findings</h2>\n"
    anchors = {(row.program, row.name): f"{key}-{i}" for i, row in enumerate(rows(outcome))}
    for finding in outcome.findings:
        yield _finding(finding, anchors.get(finding.row), outcome)


def _finding(finding: Finding, anchor: str | None, outcome: Outcome) -> str:
    where = escape(place(finding))
    if anchor:
        where = f'<a href="#{anchor}">{where}</a>'
    draw = f" <small>draw {escape(finding.draw)}</small>" if finding.draw else ""
    shown = "".join(
        f"<div><small>{which} ({escape(record.framework)})</small><pre>{escape(text)}</pre></div>"
        for which, record, text in (
            ("first", outcome.first, finding.first),
            ("second", outcome.second, finding.second),
        )
        if text
    )
    pair = f'<div class="pair">{shown}</div>' if shown else ""
    return (
        f'<section class="card finding {finding.level}"><p><span class="mark">{finding.level}</span> '
        f"{where}: {escape(finding.message)}{draw}</p>{pair}</section>\n"
    )


# -- the table ----------------------------------------------------------------------------------------


def _table(key: str, outcome: Outcome) -> Iterator[str]:
    titles = "".join(
        f'<span class="{which}">{which} · {escape(getattr(outcome, which).framework)}</span>'
        for which in ("first", "second")
    )
    yield '<h2>Site by site</h2>\n<div class="card rows">'
    yield f'<div class="grid titles soft"><span>batch | event</span>{titles}</div>\n'
    program = None
    opened = False
    for i, row in enumerate(rows(outcome)):
        if row.program != program:
            program = row.program
            yield f'<h3 class="group">{PROGRAMS[program]}</h3>\n'
        is_first = row.level not in ("same", "note", "unknown") and not opened
        opened = opened or is_first
        yield _details(f"{key}-{i}", row, outcome, is_first)
    yield "</div>\n"


def _details(anchor: str, row: ReportRow, outcome: Outcome, is_open: bool) -> str:
    own = f" → {row.own}" if row.own else ""
    label = row.name + own if row.name else "loss"
    return (
        f'<details id="{anchor}" class="{row.level}"{" open" * is_open}><summary class="grid">'
        f'<span class="name">{escape(label)}<small>{escape(row.kind)}</small></span>'
        f"{_cell('first', row.first)}{_cell('second', row.second)}"
        f'<span class="mark">{MARKS[row.level]}</span></summary>\n'
        f'<div class="numbers" role="group" tabindex="0" aria-label="numbers of {escape(label)}">'
        f"{_on_demand(row, outcome)}</div></details>\n"
    )


def _cell(which: str, cell: Cell) -> str:
    detail = f" <small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f'<span class="{which} shape">{escape(cell.shape)}{detail}</span>'


# -- numbers on demand --------------------------------------------------------------------------------


def _on_demand(row: ReportRow, outcome: Outcome) -> str:
    """Tables for one place, of the draw that showed its finding, or else of the first."""
    here = [f for f in outcome.findings if f.row == (row.program, row.name)]
    draw = next((f.draw for f in here if f.draw), next(iter(outcome.first.settings.draws)))
    pair = DrawPair(outcome.first, outcome.second, draw)
    runs = pair.run("first"), pair.run("second")
    stopped = any(run.failure for run in runs)
    if row.program in ("model", "guide"):
        sites = [getattr(run, row.program).get(row.name) for run in runs]
        tables = _site(sites, pair, row, stopped)
    elif row.name:
        tables = _parameter([run.parameters.get(row.name) for run in runs], stopped)
    else:
        tables = _numbers("loss", runs[0].loss, runs[1].loss, stopped=stopped)
    apart = "; a program stopped, perhaps on draws of its own: nothing is compared" * stopped
    return f"<h3>draw {escape(draw)}, double precision{apart}</h3>{tables}"


def _site(sites: list[Site | None], pair: DrawPair, row: ReportRow, stopped: bool) -> str:
    facts: dict[str, Callable[[Site], str]] = {
        "distribution": lambda s: s.family,
        "support": lambda s: s.support,
        "plates": lambda s: (
            ", ".join(_plate(p.name, p.size, p.subsample_size) for p in s.plates) or "none"
        ),
        "dtype": lambda s: s.dtype,
        "scaled by": lambda s: _range(s.scale),
    }
    lines = ""
    for name, fact in facts.items():
        shown = "".join(f"<td>{escape(fact(s)) if s else '–'}</td>" for s in sites)
        lines += f"<tr><td>{name}</td>{shown}</tr>"
    head = "<tr><th></th><th>first</th><th>second</th></tr>"
    found = f'<table class="facts">{head}{lines}</table>'
    first, second = sites
    judged = densities(pair, row.program, row.name) if first and second else None
    of_each = [None if s is None or s.log_prob is None else s.scaled for s in sites]
    logs = judged[1:] if judged else of_each
    batch = of_densities(len(judged[1]), first, second) if judged and first and second else None
    values = [None if s is None else s.value for s in sites]
    arguments = "" if stopped else _arguments(sites)
    weights = [None if s is None or isinstance(s.scale, float) else s.scale for s in sites]
    numbers = [
        _numbers("log density", *logs, say=batch, stopped=stopped),
        _numbers("scale", *weights, stopped=stopped),
        arguments,
        _numbers("value", *values, stopped=stopped),
    ]
    return found + "".join(numbers)


def _arguments(sites: list[Site | None]) -> str:
    """Of the distributions, those that differ."""
    first, second = ({} if site is None else site.arguments for site in sites)
    tables = ""
    for name in (n for n in first if n in second):
        try:
            a, b = np.broadcast_arrays(first[name], second[name])
        except ValueError:
            a, b = first[name], second[name]
        tables += "" if alike(a, b) else _numbers(name, a, b)
    return tables


def _range(scale: float | Array) -> str:
    if not isinstance(scale, np.ndarray):
        return f"{scale:.6g}"
    return f"{scale.min():.6g} to {scale.max():.6g}"


def _plate(name: str, size: int, subsample_size: int) -> str:
    return f"{name} {size}" if size == subsample_size else f"{name} {subsample_size} of {size}"


def _parameter(found: list[Parameter | None], stopped: bool) -> str:
    gradients, values = ([getattr(p, n, None) for p in found] for n in ("gradient", "value"))
    is_image = any(p is not None and p.constraint == "unconstrained" for p in found)
    say = None if is_image else of_array
    both = (
        _numbers("gradient of the loss", *gradients, say=say, stopped=stopped),
        _numbers("value", *values, say=say, stopped=stopped),
    )
    return "".join(both)


def _numbers(
    title: str,
    first: Array | None,
    second: Array | None,
    *,
    say: Say | None = None,
    stopped: bool = False,
) -> str:
    """The first numbers of both programs beside each other, and those that lie furthest apart.

    say: how a place is said; without it the first axis is the particle's.  stopped: nothing is compared.
    """
    arrays = [None if a is None else np.asarray(a, np.float64) for a in (first, second)]
    known = [a for a in arrays if a is not None and a.size]
    if not known:
        return ""
    comparable = not stopped and len(known) == 2 and known[0].shape == known[1].shape
    places = [tuple(map(int, i)) for i in np.ndindex(max(known, key=np.size).shape)][:SHOWN]
    worst = None
    if comparable:
        worst = _furthest(known[0], known[1])
        places += [worst] if worst is not None and worst not in places else []
    apart = "<th>second − first</th>" * comparable
    head = f"<tr><th>at</th><th>first</th><th>second</th>{apart}</tr>"
    say = say or of_particles(len(known[0]))
    lines = [_line(say(i), [_at(a, i) for a in arrays], comparable, i == worst) for i in places]
    count = f"{len(places)} of {known[0].size} numbers" if known[0].size > len(places) else ""
    return f"<h3>{title} <small>{count}</small></h3><table>{head}{''.join(lines)}</table>"


def _furthest(a: Array, b: Array) -> tuple[int, ...] | None:
    """Index of the largest difference, a number that only one has before any; None if all are equal."""
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    apart = np.where(np.isnan(apart), np.inf, apart)
    if not apart.any():
        return None
    return tuple(map(int, np.unravel_index(int(np.argmax(apart)), apart.shape)))


def _line(place: str, numbers: list[float | None], both: bool, is_worst: bool) -> str:
    cells = "".join(f"<td>{'–' if v is None else f'{v:.12g}'}</td>" for v in numbers)
    apart = ""
    if both and None not in numbers:
        apart = "0" if numbers[0] == numbers[1] else f"{numbers[1] - numbers[0]:.2e}"  # type: ignore[operator]
    label = f"{place}{' worst' * is_worst}"
    return f"<tr{' class=worst' * is_worst}><td>{label}</td>{cells}<td>{apart}</td></tr>"


def _at(array: Array | None, index: tuple[int, ...]) -> float | None:
    try:
        return None if array is None else float(array[index])
    except (IndexError, TypeError):
        return None


def _tested(outcome: Outcome) -> str:
    lines = tested(outcome)
    inputs = ", ".join(
        f"{name} {'×'.join(map(str, a.shape)) or 'number'}"
        for name, a in outcome.first.inputs.items()
    )
    sides = "".join(
        f"<div><small>{which}</small><br>{escape(versions(getattr(outcome, which).versions, {}))}</div>"
        for which in ("first", "second")
    )
    shown = f'<p class="soft">Inputs: {escape(inputs)}</p>' if inputs else ""
    return (
        f'<h2>What was tested</h2>\n<section class="card tested"><p>{escape(lines[0])}.</p>{shown}'
        f'<div class="pair">{sides}</div></section>\n'
    )
