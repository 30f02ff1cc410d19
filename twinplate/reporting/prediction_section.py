"""The section of the page on predictions: hidden entries against what was predicted of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from twinplate.pages.axes import Axis
from twinplate.pages.charts import Curve, curves, histogram
from twinplate.pages.skeleton import figure
from twinplate.reporting.calibration import LEVELS, Calibration
from twinplate.reporting.count_calibration import CountCalibration, Frequencies
from twinplate.reporting.sections import BANDED, NEEDS_DATA, Runs, key

EDGES = np.linspace(-4, 4, 33)  # of the histogram


def predictions(runs: Runs) -> str:
    """Hidden entries against what was predicted of them."""
    known = [(n, run.calibration) for n, run in enumerate(runs) if run.calibration is not None]
    if not known:
        if runs[0].gaps is None:
            return NEEDS_DATA
        if all(run.saved.program.config.amplitude_scale is not None for run in runs):
            return "<p>With an amplitude predictions have no closed form.</p>"
        return "<p>No item has two entries, one to be hidden and one to predict it from.</p>"
    parts = [_coverage(runs, known)]
    for n, found in known:
        parts.append(_errors(runs, n, found))
        if isinstance(found, CountCalibration) and found.frequencies is not None:
            draw = _of_ones if runs[n].likelihood == "bernoulli" else _of_values
            parts.append(draw(runs, n, found.frequencies))
    return f'<div class="figures">{"".join(parts)}</div>'


def _coverage(runs: Runs, known: Sequence[tuple[int, Calibration]]) -> str:
    shown, ends, banded = [], [-4.0, 4.0], len(known) <= BANDED
    for n, found in known:
        share, error = np.array([found.coverage(level) for level in LEVELS]).T
        off = 100 * (share - LEVELS)
        band = (off - 200 * error, off + 200 * error)
        shown.append(Curve(LEVELS, off, n, band if banded else None))
        ends += [*band[0], *band[1]]
    picture = curves(
        "Share of hidden entries in their intervals, less what the intervals say",
        Axis(0.0, 1.0, "probability of the interval"),
        Axis.over(ends, "share in it − that, percentage points"),
        shown,
        [("holds what it says", 0.0)],
    )
    caption = (
        "Of some items a tenth of the entries, one at least, were hidden and predicted from the rest. Below "
        "the dashed line intervals are too narrow, above it too wide."
        + " Bands: two standard errors."
        * banded
    )
    if any(isinstance(found, CountCalibration) for _, found in known):
        caption += (
            " Intervals of counts hold more than they say, so an entry at the end of one is held by the "
            "chance that makes up for it (randomised quantile residuals)."
        )
    return figure(picture, f"{key(runs, [n for n, _ in known])} {caption}")


def _errors(runs: Runs, n: int, found: Calibration) -> str:
    z = np.linspace(-4, 4, 81)
    normal = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    density, _ = np.histogram(np.clip(found.z, -4, 4), EDGES, density=True)
    of_counts = isinstance(found, CountCalibration)
    label = "randomised quantile residual of a hidden entry"
    picture = histogram(
        f"Errors of the predictions of {runs[n].name}",
        Axis(
            -4.0, 4.0, label if of_counts else "hidden entry − prediction, in standard deviations"
        ),
        EDGES,
        density,
        Curve(z, normal, n),
    )
    far, expected = float(np.mean(np.abs(found.z) > 4)), float(2 * scipy.special.ndtr(-4.0))
    tail = f" Beyond 4: {far:.2%}, {expected:.2%} expected." if far else ""
    return figure(
        picture, f"{key(runs, [n])} Predicted by the {found.by}. Dashed: the normal.{tail}"
    )


def _of_values(runs: Runs, n: int, found: Frequencies) -> str:
    last = float(found.at[-1])
    picture = histogram(
        f"How many hidden entries are 0, 1, 2, ..., and how many {runs[n].name} expects",
        Axis(-0.5, last + 0.5, "count"),
        np.append(found.at - 0.5, last + 0.5),
        found.observed,
        Curve(found.at, found.expected, n),
        "share of the hidden entries",
    )
    far = np.max(np.abs(found.observed - found.expected) - found.error)
    off = " A share is off by more than chance would make it." if far > 0 else ""
    more = f" {1 - float(found.observed.sum()):.1%} are above {last:.0f}."
    return figure(
        picture, f"{key(runs, [n])} Bars: the hidden entries; dashed: expected.{more}{off}"
    )


def _of_ones(runs: Runs, n: int, found: Frequencies) -> str:
    off = 100 * (found.observed - found.at)
    band = off - 100 * found.error, off + 100 * found.error
    picture = curves(
        f"How many hidden entries are one where {runs[n].name} gives that a probability",
        Axis(0.0, 1.0, "probability of a one"),
        Axis.over([*band[0], *band[1], 0.0], "share of ones − that, percentage points"),
        [Curve(found.at, off, n, band)],
        [("as many as it says", 0.0)],
    )
    caption = "Hidden entries in ten bins by their probability of a one. Band: two standard errors."
    return figure(picture, f"{key(runs, [n])} {caption}")
