"""The picture of a choice: held-out evidence by components, and what each trial reaches in which time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twinplate.choosing.verdict import STEPS, Verdict
from twinplate.errors import InputError
from twinplate.extras import import_extra
from twinplate.files import require_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHOSEN, OTHER = "#D55E00", "#0072B2"  # from Okabe and Ito's palette
BACKENDS = {"numpyro": "#0072B2", "pyro": "#E69F00"}
SUFFIXES = (".png", ".svg")
DPI = 150


def check_picture(path: Path) -> None:
    """Raise InputError unless a PNG or SVG can be written to `path`, and matplotlib is there."""
    require_place(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--picture is {path}; expected a name that ends in .png or .svg")
    import_extra("matplotlib.figure", "matplotlib")


def write_picture(path: Path, verdict: Verdict, suffix: str) -> None:
    """Write it in the format of the suffix, .png or .svg."""
    figure = import_extra("matplotlib.figure", "matplotlib").Figure(
        figsize=(11 if verdict.trials else 6, 4.4), layout="constrained"
    )
    panels = figure.subplots(1, 2 if verdict.trials else 1, squeeze=False)[0]
    _draw_components(panels[0], verdict)
    if verdict.trials:
        _draw_trials(panels[1], verdict)
    for axes in panels:
        axes.grid(alpha=0.25, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=DPI, format=suffix[1:])


def _draw_components(axes: Axes, verdict: Verdict) -> None:
    """What each number of components is above or below the chosen one, with two standard errors."""
    found, ks = verdict.by_components, np.array(verdict.components)
    axes.axhline(0, color="0.5", lw=1, ls="--")
    axes.errorbar(ks, -found.behind, 2 * found.error, color=OTHER, marker="o", capsize=3, lw=1.5)
    axes.plot(verdict.k, 0.0, "o", color=CHOSEN, ms=12, label=f"chosen: {verdict.k}", zorder=3)
    lowest = min(-float(np.max(found.behind)), -1e-3)
    axes.set(
        xlabel="components",
        xticks=ks,
        ylabel="held-out log evidence − that of the choice\n(nats per item, ± 2 standard errors)",
        title=f"Chosen in {found.certainty:.0%} of resamples",
    )
    axes.set_yscale("symlog", linthresh=max(-lowest / 100, 1e-3))
    axes.legend(frameon=False, loc="lower right")


def _draw_trials(axes: Axes, verdict: Verdict) -> None:
    """Seconds of a fit, and beside each what its guide misses."""
    trials = verdict.trials[::-1]
    for place, trial in enumerate(trials):
        seconds = trial.total_seconds(STEPS)
        axes.barh(place, seconds, color=BACKENDS[trial.backend], height=0.6)
        missed = float(np.mean(trial.evidence - trial.elbo))
        axes.text(seconds, place, f" misses {missed:.2g} nats", va="center", fontsize=9)
    best = verdict.ranked[0]
    labels = [
        f"{trial.covariance}, {trial.backend}{' (chosen)' * (trial is best)}" for trial in trials
    ]
    axes.set_yticks(range(len(trials)), labels)
    longest = max(trial.total_seconds(STEPS) for trial in trials)
    axes.set(
        xlim=(0, 1.5 * longest),
        xlabel=f"seconds for {STEPS:,} steps here, compiling included",
        title="Covariance and backend",
    )
