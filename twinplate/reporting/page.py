"""One page on runs: what they came to, in pictures and sentences, with how to make them again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from math import isfinite
from typing import Any

from twinplate.pages.charts import swatch
from twinplate.pages.skeleton import document, table
from twinplate.reporting import prediction_section, sections
from twinplate.reporting.again import command_of
from twinplate.reporting.agreement import Agreement, agreements
from twinplate.reporting.calibration import LEVELS
from twinplate.reporting.gaps import equivalent_shift
from twinplate.reporting.latents import SHOWN_COMPONENTS
from twinplate.reporting.ranking import best_ones, comparable
from twinplate.reporting.runs import ReportedRun
from twinplate.reporting.sentences import (
    MARKS,
    Remark,
    headline,
    remarks,
)
from twinplate.words import counted

STYLE = """
nav { margin: 1rem 0 0; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 0; padding: 0; }
nav li { list-style: none; }
.remarks { margin: 0; padding: 0; }
.remarks li { list-style: none; padding: .5rem 1rem; margin-top: .45rem; border-left: 6px solid var(--tone); }
.remarks .mark { display: inline-block; min-width: 3.2rem; }
.maps { display: grid; grid-template-columns: repeat(2, 1fr); gap: .8rem; }
.plus { color: var(--plus); }
.minus { color: var(--minus); }
.wide th { text-align: left; }
.wide td { white-space: normal; min-width: 12rem; text-align: left; }
.wide td:nth-child(2) { min-width: 4rem; }
pre.card { padding: .7rem 1rem; margin: .5rem 0 0; }
.word { display: inline-block; }
"""
TITLES = {
    "runs": "Runs",
    "losses": "Losses",
    "gaps": "How far from exact",
    "correlations": "Correlations",
    "items": "Items",
    "predictions": "Predictions",
    "frameworks": "Frameworks",
    "components": "Components",
    "cost": "Speed and memory",
    "again": "Make it again",
}


def report_page(runs: Sequence[ReportedRun], command: str) -> str:
    """The page on one or more runs. command: that wrote it."""
    pairs = agreements(runs)
    parts = {
        "runs": _runs(runs),
        "losses": sections.losses(runs),
        "gaps": sections.gaps(runs),
        "correlations": sections.correlations(runs),
        "items": sections.items(runs),
        "predictions": prediction_section.predictions(runs),
        "frameworks": _frameworks(runs, pairs),
        "components": _components(runs),
        "cost": _cost(runs),
        "again": _again(runs, command),
    }
    said = remarks(runs, pairs)
    links = "".join(f'<li><a href="#{name}">{TITLES[name]}</a></li>' for name in parts)
    body = "".join(_section(name, said, part) for name, part in parts.items())
    names = ", ".join(run.name for run in runs)
    return document(
        f"Report on {names}",
        '<a class="skip" href="#content">To the content</a>\n'
        f'{_header(runs)}\n<nav aria-label="Sections"><ul>{links}</ul></nav>\n'
        f'<main id="content" tabindex="-1">\n{body}</main>',
        STYLE,
    )


def _header(runs: Sequence[ReportedRun]) -> str:
    first = headline(runs)
    sizes = [run.data_size or _training_size(run) for run in runs]
    items, features = (
        _range(values, noun)
        for values, noun in zip(zip(*sizes, strict=True), ("item", "feature"), strict=True)
    )
    frameworks = " and ".join(sorted({r.backend for r in runs}))
    return (
        f'<header class="card headline {first.tone}"><span class="verdict">{MARKS[first.tone]}</span>'
        f"<h1>{escape(first.text)}</h1>"
        f'<p class="soft">{items} of {features} · {counted(len(runs), "run")} · {frameworks}</p></header>'
    )


def _training_size(run: ReportedRun) -> tuple[int, int]:
    return int(run.saved.data["num_items"]), run.saved.program.config.num_features


def _range(values: Sequence[int], noun: str) -> str:
    low, high = min(values), max(values)
    return counted(low, noun) if low == high else f"{low:,} to {counted(high, noun)}"


def _section(name: str, said: Sequence[Remark], part: str) -> str:
    lines = "".join(
        f'<li class="card {remark.tone}"><span class="mark">{MARKS[remark.tone]}</span> '
        f"{escape(remark.text)}</li>"
        for remark in said
        if remark.section == name
    )
    listed = f'<ul class="remarks">{lines}</ul>' if lines else ""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{TITLES[name]}</h2>'
        f"{listed}{part}</section>\n"
    )


def _runs(runs: Sequence[ReportedRun]) -> str:
    head = ["run", "by", "guide", "K", "steps", "last loss"]
    with_data = any(run.gaps is not None for run in runs)
    head += ["log evidence", "gap", "as a shift"] if with_data else []
    best, rows = best_ones(runs) if comparable(runs) and len(runs) > 1 else [], []
    for n, run in enumerate(runs):
        config = run.saved.program.config
        covariance = "" if config.guide == "diagonal" else f", {config.covariance}"
        star = (
            ' <span class="mark same">best</span>' if run in best and len(best) < len(runs) else ""
        )
        cells = [f"{swatch(n)}{escape(run.name)}{star}", run.backend, config.guide + covariance]
        last = f"{run.last_loss:.4f}" if isfinite(run.last_loss) else "–"
        cells += [str(config.num_components), f"{run.saved.step:,}", last]
        if run.gaps is not None:
            gap = run.gaps.gap
            about = f" ± {run.gaps.error:.4f}" if run.is_bound else ""
            cells.append(f"{run.gaps.mean_evidence:.4f}{about}")
            cells.append("–" if gap is None else f"{gap:.4f}")
            cells.append(
                "–" if gap is None else f"{equivalent_shift(gap, run.gaps.components):.2f} sd"
            )
        rows.append(cells)
    bounds = {run.is_bound for run in runs}
    what = {True: "an importance-weighted bound", False: "exact"}
    how = "exact, and of counts a bound" if len(bounds) == 2 else what[min(bounds)]
    return table(f"Nats per item{f'; the log evidence is {how}' * with_data}", head, rows)


def _frameworks(runs: Sequence[ReportedRun], pairs: Sequence[Agreement]) -> str:
    if not pairs:
        return (
            "<p>No two of these runs differ in the framework alone. Give runs of one command with --backend "
            "pyro and with --backend numpyro.</p>"
        )
    rows = [
        (
            f"{escape(pair.first)}, {escape(pair.second)}",
            "–" if pair.evidence is None else f"{pair.evidence:+.1e}",
            f"{pair.covariance:.1e}",
            "–" if pair.predictions is None else f"{pair.predictions:.1e}",
        )
        for pair in pairs
    ]
    head = ("runs", "log evidence, nats", "correlations", "predictions, sd")
    return table("Second less first; largest and root mean square differences", head, rows) + (
        '<p class="soft">Each framework draws noise of its own, so fits of one seed come close and not '
        "to the last digit; with the same noise they are the same to rounding (make test).</p>"
    )


def _components(runs: Sequence[ReportedRun]) -> str:
    parts = []
    for run in runs:
        summary = run.fit.summary()
        rows = [
            (
                str(k),
                f"{component.share:.1%}",
                escape(", ".join(f"{name} {value:.2f}" for name, value in component.features)),
            )
            for k, component in enumerate(summary.components[:SHOWN_COMPONENTS], 1)
        ]
        if summary.noise_share is not None:
            rows.append(("noise", f"{summary.noise_share:.1%}", ""))
        head = ("component", "share", "correlation with the features")
        parts.append(f'<div class="wide">{table(run.name, head, rows)}</div>')
    return (
        "".join(parts)
        + '<p class="soft">Share of the variance of the features, on average over them; of counts, of '
        "their predictors without any noise. Components that were learned are known up to a rotation.</p>"
    )


def _cost(runs: Sequence[ReportedRun]) -> str:
    head = ["run", "parameters", "with moments, MB", "items seen", "on disk, MB"]
    with_data = any(run.gaps is not None for run in runs)
    head += ["scored here, items/s"] if with_data else []
    rows = []
    for n, run in enumerate(runs):
        numbers = sum(values.size for values in run.fit.params.values())
        bytes_each = 4 if run.saved.training.precision == "float32" else 8
        cells = [f"{swatch(n)}{escape(run.name)}", f"{numbers:,}"]
        cells += [f"{4 * numbers * bytes_each / 1e6:.2f}"]
        cells += [f"{run.saved.step * run.saved.training.batch_size:,}", f"{run.size / 1e6:.2f}"]
        if run.gaps is not None:
            cells.append(f"{len(run.gaps.evidence) / run.gaps.seconds:,.0f}")
        rows.append(cells)
    bench = dict.fromkeys(_bench(run) for run in runs)
    measured = ", ".join(f"<code>{_unbroken(command)}</code>" for command in bench)
    return table("What the runs hold", head, rows) + (
        '<p class="soft">A run does not keep how long it trained or how much memory it took. This measures '
        f"both, for the sizes of the training, on your machine: {measured}</p>"
    )


def _bench(run: ReportedRun) -> str:
    items, features = _training_size(run)
    return (
        f"twinplate bench --items {items} --features {features} --components "
        f"{run.saved.program.config.num_components} --batch-size {run.saved.training.batch_size}"
    )


def _again(runs: Sequence[ReportedRun], command: str) -> str:
    parts = [f'<pre class="card">{_unbroken(shlex.join(command_of(run)))}</pre>' for run in runs]
    names = list(dict.fromkeys(name for run in runs for name in run.saved.versions))
    rows = [["seed", *(str(run.saved.training.seed) for run in runs)]]
    rows.append(["data", *(run.saved.data["fingerprint"][:16] or "–" for run in runs)])
    rows += [[escape(n), *(escape(run.saved.versions.get(n, "–")) for run in runs)] for n in names]
    head = ["", *(escape(run.name) for run in runs)]
    return (
        "".join(parts)
        + table("Seed, fingerprint of the data, and versions", ["what", *head[1:]], rows)
        + f'<p class="soft">This page: <code>{_unbroken(command)}</code></p>'
    )


def _unbroken(command: str) -> str:
    """A command whose lines end between options and not within them."""
    first, *options = command.split(" --")
    return escape(first) + "".join(f' <span class="word">--{escape(o)}</span>' for o in options)


def as_dict(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    """The figures of the page as plain data, for JSON."""
    pairs = agreements(runs)
    return {
        "best": [run.name for run in best_ones(runs)] if comparable(runs) else [],
        "remarks": [vars(remark) for remark in (headline(runs), *remarks(runs, pairs))],
        "runs": [_run_as_dict(run) for run in runs],
        "agreement": [{**vars(pair), "ok": pair.ok} for pair in pairs],
    }


def _run_as_dict(run: ReportedRun) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": run.name,
        "backend": run.backend,
        "steps": run.saved.step,
        "last_loss": run.last_loss if isfinite(run.last_loss) else None,
        "own_data": run.own_data,
        "command": command_of(run),
    }
    if run.gaps is not None:
        names = ("gap", "family_gap", "amortisation_gap")
        found |= {n: getattr(run.gaps, n) for n in names}
        if run.gaps.bound is None:
            found["log_evidence"] = run.gaps.mean_evidence
        else:
            found |= {**run.gaps.bound.as_dict(), "gap_error": run.gaps.gap_error}
    if run.calibration is not None:
        levels = [float(level) for level in LEVELS]
        held = {f"{level:g}": run.calibration.coverage(level)[0] for level in levels}
        found |= {"coverage": held, "hidden_entries": len(run.calibration.z)}
    return found
