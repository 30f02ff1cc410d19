"""The sections of the page with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from twinplate.pages.axes import Axis
from twinplate.pages.charts import (
    NUMBERED,
    Curve,
    Drawn,
    bars,
    curves,
    heat_map,
    intervals,
    swatch,
)
from twinplate.pages.skeleton import figure
from twinplate.reporting.gaps import GOOD, POOR
from twinplate.reporting.latents import LEVEL, SHOWN_COMPONENTS
from twinplate.reporting.losses import Course
from twinplate.reporting.ranking import best_of, same_data, same_kind
from twinplate.reporting.runs import ReportedRun
from twinplate.words import counted

NEEDS_DATA = '<p class="soft">Give --data DATA to see this section.</p>'
BY_WEIGHTS = ", which of counts is by importance-weighted draws from the guide and the prior"
BANDED = 2  # curves at most that have bands
Runs = Sequence[ReportedRun]


def key(runs: Runs, numbers: Sequence[int] | None = None) -> str:
    """Which colour is which run."""
    shown = range(len(runs)) if numbers is None else numbers
    return (
        '<span class="key">'
        + " ".join(f"<span>{swatch(n)}{escape(runs[n].name)}</span>" for n in shown)
        + "</span>"
    )


def losses(runs: Runs) -> str:
    """Of every run, against the exact or the best known line, and what they miss of it."""
    drawn = [(n, run) for n, run in enumerate(runs) if run.has_losses]
    if not drawn:
        return "<p>There is no loss to show.</p>"
    courses = [(n, _course(run, run.fit.losses)) for n, run in drawn]
    known = known_line(runs)
    banded = len(courses) <= BANDED
    low = [np.min(c.low if banded else c.mean) for _, c in courses]
    high = [np.quantile(c.high if banded else c.mean, 0.98) for _, c in courses]
    x = Axis(0.0, max(float(c.steps[-1]) for _, c in courses), "step")
    y = Axis.over([*low, *high, *(level for _, level in known)], "loss, nats per item")
    shown = [Curve(c.steps, c.mean, n, (c.low, c.high) if banded else None) for n, c in courses]
    title = f"Losses of {counted(len(runs), 'run')} by step"
    dashed = f" Dashed: {escape(known[0][0])}." if known else ""
    caption = (
        f"Loss, in nats per item: means of neighbouring steps{'; the band holds 8 of 10' * banded}."
        f"{dashed} A loss is one draw of one mini-batch: most of its ups and downs are which items it "
        "held."
    )
    parts = [figure(curves(title, x, y, shown, known), f"{key(runs)} {caption}")]
    beyond = [(n, _course(run, run.missed)) for n, run in drawn if run.missed is not None]
    if beyond:
        parts.append(_beyond(runs, beyond, x))
    return f'<div class="figures">{"".join(parts)}</div>'


def known_line(runs: Runs) -> list[tuple[str, float]]:
    """What losses are held against: the exact answer of the best run, or the lowest loss that there is.

    None where the runs were trained on different data, of which each has its own.
    """
    if not same_data(runs):
        return []
    if all(run.gaps is not None and run.own_data for run in runs) and same_kind(runs):
        return [("bound" if runs[0].is_bound else "exact", -best_of(runs).score)]
    lowest = np.array([run.last_loss for run in runs])
    return [("best known", float(np.min(lowest[np.isfinite(lowest)], initial=np.inf)))]


def _course(run: ReportedRun, values: np.ndarray) -> Course:
    return Course.of(values, first=run.saved.step - len(values))


def _beyond(runs: Runs, courses: Sequence[tuple[int, Course]], x: Axis) -> str:
    values = np.concatenate([c.mean for _, c in courses])
    bound = all(runs[n].is_bound for n, _ in courses)
    answer, evidence = ("bound", "bound on the") if bound else ("exact", "exact")
    y = Axis.over(
        [float(v) for v in values if v > 1e-4], f"nats per item beyond {answer}", log=True
    )
    shown = [Curve(c.steps, c.mean, n) for n, c in courses]
    picture = curves(f"What the steps miss of the {evidence} log evidence, by step", x, y, shown)
    caption = (
        f"What each step misses of the {evidence} log evidence of its own items under the fitted model: "
        "which items it held makes no noise here. It ends at the gap of the next section."
    )
    return figure(picture, f"{key(runs, [n for n, _ in courses])} {caption}")


def gaps(runs: Runs) -> str:
    """What each guide misses, and of it what its family cannot express."""
    rows = []
    for n, run in enumerate(runs):
        found = run.gaps
        if found is None or found.gap is None:
            continue
        family = found.family_gap
        parts = [found.gap] if family is None else [family, max(found.gap - family, 0.0)]
        rows.append((run.name, parts, n))
    if not rows:
        return NEEDS_DATA if runs[0].gaps is None else ""
    most = max(sum(parts) for _, parts, _ in rows)
    picture = bars(
        "Gaps of the guides, nats per item",
        Axis(0.0, 1.25 * max(most, 1e-6), "nats per item"),
        rows,
    )
    if all(run.is_bound for run in runs):
        what = (
            "What the guide's expected ELBO misses of the importance-weighted bound, an estimate of "
            "KL(guide ‖ posterior) by the same draws. What of it a better kind of guide would not miss is "
            "not known of counts."
        )
    else:
        what = (
            "What the guide misses of the exact log evidence, KL(guide ‖ exact posterior). Pale: the family "
            "gap, which the best guide of its kind misses; full: the amortisation gap, the encoder's and the "
            "training's."
        )
    caption = (
        f"{what} Good is less than the means being off by {GOOD:g} of a posterior standard deviation, "
        f"poor more than {POOR:g}."
    )
    return f'<div class="figures">{figure(picture, caption)}</div>'


def correlations(runs: Runs) -> str:
    """Of the components, exact beside each guide."""
    parts = []
    for n, run in enumerate(runs):
        found = run.correlations
        if found is None or len(found.guide) < 2:
            continue
        size = min(len(found.guide), SHOWN_COMPONENTS)
        maps = heat_map(
            f"Correlations by the guide of {run.name}", found.guide[:size, :size], "guide"
        )
        numbered = " Diagonal: the number of the component." * (size <= NUMBERED)
        about = f"{counted(found.items, 'item')}" if found.items > 1 else "it"
        text = "The exact ones have no closed form with an amplitude."
        if found.exact is not None:
            title = "by weights" if run.is_bound else "exact"
            label = f"Correlations of the posterior, {title}, {run.name}"
            exact = heat_map(label, found.exact[:size, :size], title)
            maps = exact + maps
            text = f"Largest difference over {about}: {found.largest:.2g}."
        more = f" The first {size} of {len(found.guide)} components." * (size < len(found.guide))
        caption = f"{key(runs, [n])} Components of {escape(found.item)}.{numbered} {text}{more}"
        parts.append(figure(f'<div class="maps">{maps}</div>', caption))
    if not parts:
        if all(run.correlations is None for run in runs) and runs[0].gaps is None:
            return NEEDS_DATA
        return "<p>There is one component, and so no correlation.</p>"
    scale = (
        '<p class="soft">Correlation of the components in the posterior of an item: '
        '<span class="plus">■</span> positive, <span class="minus">■</span> negative, the stronger the '
        "fuller. A guide is as good as its map is like the other one"
        f"{BY_WEIGHTS * any(run.is_bound for run in runs)}.</p>"
    )
    return f'{scale}<div class="figures">{"".join(parts)}</div>'


def items(runs: Runs) -> str:
    """Intervals of a component of some items, exact beside each guide."""
    parts = []
    for n, run in enumerate(runs):
        found = run.intervals
        if found is None:
            continue
        ends = [*found.guide, *(found.exact or ())]
        label = f"component {found.component + 1}"
        drawn: list[Drawn] = [(*found.guide, n)]
        if found.exact is not None:
            drawn.insert(0, (*found.exact, None))
        picture = intervals(
            f"{LEVEL:.0%} intervals of {label} by {run.name}",
            Axis.over([float(v) for v in np.concatenate(ends)], label),
            found.names,
            drawn,
        )
        pale = "by importance-weighted draws" if run.is_bound else "exact"
        caption = (
            f"{key(runs, [n])} {LEVEL:.0%} intervals of {label}, which explains most; pale: {pale}."
        )
        parts.append(figure(picture, caption))
    if not parts:
        return (
            NEEDS_DATA
            if runs[0].gaps is None
            else "<p>No item is one that the guides can take.</p>"
        )
    return f'<div class="figures">{"".join(parts)}</div>'
