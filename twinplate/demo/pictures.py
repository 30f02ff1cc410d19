"""The demo's pictures: ELBO against steps, posterior correlations, hidden regions filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinplate.demo.digits import BLOCK, SIDE, Digits
from twinplate.demo.report import LABELS, Fitted, coverage, fill_in_sd
from twinplate.extras import import_extra
from twinplate.programs.config import GUIDES, TrainingConfig
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.seeds import batch_indices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito's palette, distinct for all common kinds of colour vision.
GUIDE_COLOURS = {"diagonal": "#D55E00", "event": "#56B4E9", "auxiliary": "#009E73"}
DARK = {"diagonal": "#6B2F00", "event": "#1F4E6B", "auxiliary": "#00402F"}
OUTLINE = "#CC79A7"
NOTHING = "0.88"  # grey of cells without a value
RUNNING_MEAN_STEPS = 50  # steps of the running mean of a curve
DRAWN_DIGITS = (0, 2, 3, 5, 8)  # digits whose hidden region is drawn
DPI = 150


def write_pictures(
    directory: Path,
    digits: Digits,
    generative: LinearGaussian,
    fits: Sequence[Fitted],
    training: TrainingConfig,
) -> None:
    """Write `elbo.png`, `correlation.png` and `inpainting.png` into `directory`."""
    pictures = {
        "elbo.png": elbo_figure(digits.x, generative, fits, training),
        "correlation.png": correlation_figure(digits, generative, fits),
        "inpainting.png": inpainting_figure(digits, generative, fits),
    }
    for name, figure in pictures.items():
        figure.savefig(directory / name, dpi=DPI)


def _figure(width: float, height: float) -> Figure:
    # The class itself, without pyplot: no window and no global state.
    figure = import_extra("matplotlib.figure", "matplotlib").Figure
    return figure(figsize=(width, height), layout="constrained")


def elbo_figure(
    x: Array, generative: LinearGaussian, fits: Sequence[Fitted], training: TrainingConfig
) -> Figure:
    """ELBO per image against steps under the one exact line, and its distance from that line."""
    evidence = generative.log_evidence(x)
    exact, gap = evidence.mean(), generative.family_gap(x, "diagonal").mean()
    figure = _figure(11, 4.8)
    left, right = figure.subplots(1, 2)
    for fit in fits:
        steps, missed = missed_by_step(fit.losses, evidence, training)
        style = _line_style(fit)
        left.plot(steps, exact - missed, **style)
        right.plot(steps, missed, **style)
    optimum = {"color": GUIDE_COLOURS["diagonal"], "lw": 1.5, "ls": (0, (1, 1.5))}
    left.axhline(exact, color="black", lw=1.2, label="exact log evidence")
    left.axhline(exact - gap, label="best diagonal guide (formula)", **optimum)
    right.axhline(gap, **optimum)
    left.set(
        ylim=(exact - 8 * gap, exact + gap),
        ylabel="ELBO (nats per image)",
        title="The ELBO rises towards the exact line …",
    )
    right.set(
        yscale="log",
        ylabel="log evidence − ELBO (nats per image)",
        title="… and the diagonal guide stops at its family gap",
    )
    ticker = import_extra("matplotlib.ticker", "matplotlib")
    right.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_locator(ticker.NullLocator())
    x_label = f"step (mini-batches of {training.batch_size}; running mean over {RUNNING_MEAN_STEPS} steps)"
    for axes in (left, right):
        axes.set(xlim=(0, training.steps), xlabel=x_label)
        axes.grid(alpha=0.25, which="both", lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    label = f"family gap {gap:.2f}"
    right.text(
        training.steps, 0.96 * gap, label, ha="right", va="top", color=GUIDE_COLOURS["diagonal"]
    )
    left.legend(loc="lower right", fontsize=8.5, framealpha=1)
    return figure


def missed_by_step(losses: Array, evidence: Array, training: TrainingConfig) -> tuple[Array, Array]:
    """Steps, and log evidence - ELBO per item as a running mean over RUNNING_MEAN_STEPS steps.

    Every mini-batch is held against the exact log evidence of its own items, so that which items it
    holds makes no noise.
    """
    indices = batch_indices(training.seed, 0, training.steps, len(evidence), training.batch_size)
    missed = evidence[indices].mean(axis=1) + losses
    window = min(RUNNING_MEAN_STEPS, len(missed))
    steps = np.arange(len(missed) - window + 1, dtype=np.float64) + (window + 1) / 2
    running: Array = np.convolve(missed, np.full(window, 1 / window), mode="valid")
    return steps, running


def _line_style(fit: Fitted) -> dict[str, Any]:
    """Pyro solid, NumPyro dashed over it; event wide, since auxiliary lies on top of it."""
    label = f"{fit.guide}, {LABELS[fit.backend]}"
    if fit.backend == "numpyro":
        return {"color": DARK[fit.guide], "ls": (0, (4, 3)), "lw": 1.2, "label": label}
    return {
        "color": GUIDE_COLOURS[fit.guide],
        "lw": 5 if fit.guide == "event" else 2.2,
        "label": label,
    }


def correlation_figure(
    digits: Digits, generative: LinearGaussian, fits: Sequence[Fitted]
) -> Figure:
    """Posterior correlations of one typical image's weights, exact beside each guide; the parts."""
    gap = generative.family_gap(digits.x, "diagonal")
    item = int(np.argsort(gap)[len(gap) // 2])
    exact = generative.posterior(digits.x[item : item + 1]).correlation[0]
    figure = _figure(13, 7.2)
    above, below = _split(figure, 2, 1, height_ratios=(6, 1.1))
    left, right = _split(above, 1, 2, width_ratios=(1, 1.6))
    axes = left.subplots()
    _draw_correlation(axes, exact, exact)
    axes.set(title="exact posterior", xlabel="weight of part", ylabel="weight of part")
    panels = right.subplots(len(LABELS), len(GUIDES))
    for row, backend in zip(panels, LABELS, strict=True):
        for axes, guide in zip(row, GUIDES, strict=True):
            found = _find(fits, guide, backend).posterior.correlation[item]
            image = _draw_correlation(axes, found, exact)
            error = np.abs(found - exact).max()
            axes.set_title(f"{guide}, {LABELS[backend]}\nlargest error {error:.2f}", fontsize=10)
    right.colorbar(image, ax=panels, label="posterior correlation", shrink=0.9)
    _draw_parts(below, digits, generative)
    figure.suptitle(
        "Correlations of the weights of one image given its visible pixels "
        f"(image {item}, whose family gap of {gap[item]:.2f} nats is the median)"
    )
    return figure


def _split(figure: Any, rows: int, columns: int, **ratios: tuple[float, ...]) -> Any:
    return figure.subfigures(rows, columns, **ratios)


def _draw_correlation(axes: Axes, matrix: Array, exact: Array) -> Any:
    """`matrix`, without its diagonal of ones, in colours that reach to the largest of `exact`."""
    off_diagonal = ~np.eye(len(matrix), dtype=bool)
    largest = np.abs(exact[off_diagonal]).max()
    axes.set_facecolor(NOTHING)
    ticks = np.arange(0, len(matrix), 3)
    axes.set_xticks(ticks, ticks + 1, fontsize=8)
    axes.set_yticks(ticks, ticks + 1, fontsize=8)
    shown = np.where(off_diagonal, matrix, np.nan)
    return axes.imshow(shown, cmap="PuOr", vmin=-largest, vmax=largest)


def _draw_parts(figure: Any, digits: Digits, generative: LinearGaussian) -> None:
    parts = digits.image(generative.loadings.T)
    largest = np.abs(parts).max()
    panels = figure.subplots(1, len(parts))
    for number, (axes, part) in enumerate(zip(panels, parts, strict=True), start=1):
        _bare(axes)
        axes.set_title("part 1" if number == 1 else str(number), fontsize=8)
        image = axes.imshow(part, cmap="RdBu_r", vmin=-largest, vmax=largest)
    figure.colorbar(image, ax=panels, label="grey levels", aspect=6)


def inpainting_figure(digits: Digits, generative: LinearGaussian, fits: Sequence[Fitted]) -> Figure:
    """Hidden blocks filled in: mean and standard deviation, exact and by each NumPyro guide."""
    posteriors = {"exact": generative.posterior(digits.x)}
    posteriors |= {guide: _find(fits, guide, "numpyro").posterior for guide in GUIDES}
    means = [generative.reconstruct(q)[0] for q in posteriors.values()]
    sds = [fill_in_sd(generative, q) for q in posteriors.values()]
    items = shown_items(digits)
    largest = max(sd[items][digits.hidden[items]].max() for sd in sds)
    figure = _figure(13, 7.6)
    panels = figure.subplots(len(items), 11, width_ratios=(1,) * 6 + (0.2,) + (1,) * 4)
    for row, item in zip(panels, items, strict=True):
        complete, hidden = digits.complete[item], digits.hidden[item]
        values = [complete, np.where(hidden, np.nan, complete)]
        values += [np.where(hidden, mean[item], complete) for mean in means]
        for axes, value in zip(row[:6], values, strict=True):
            grey = _draw(axes, digits, item, digits.image(value), "gray_r", 16)
        row[6].set_axis_off()
        for axes, sd in zip(row[7:], sds, strict=True):
            image = digits.image(np.where(hidden, sd[item], np.nan), fill=np.nan)
            heat = _draw(axes, digits, item, image, "viridis", largest)
    for axes, title in zip(panels[0], ("truth", "visible", *posteriors), strict=False):
        axes.set_title(title, fontsize=10)
    for axes, (name, posterior) in zip(panels[0, 7:], posteriors.items(), strict=True):
        held = coverage(digits, generative, posterior, digits.complete)
        axes.set_title(f"{name}\n{held:.1%}", fontsize=10)
    bar: dict[str, Any] = {"location": "bottom", "aspect": 50, "fraction": 0.04, "pad": 0.02}
    figure.colorbar(grey, ax=panels[:, :6], label="grey level", **bar)
    label = "posterior sd without pixel noise (grey levels)"
    figure.colorbar(heat, ax=panels[:, 7:], label=label, **bar)
    figure.suptitle(
        "Hidden blocks filled in: posterior mean (left) and its uncertainty (right), with the share "
        "of all hidden pixels\ninside their 95 % intervals (pixel noise included; over all "
        f"{len(digits.x):,} images; the guides are NumPyro's)",
        fontsize=11,
    )
    return figure


def shown_items(digits: Digits) -> list[int]:
    """The first image of each digit of DRAWN_DIGITS whose hidden block does not touch the border."""
    inside = np.all((digits.corner > 0) & (digits.corner < SIDE - BLOCK), axis=1)
    return [int(np.flatnonzero(inside & (digits.label == digit))[0]) for digit in DRAWN_DIGITS]


def _draw(axes: Axes, digits: Digits, item: int, image: Array, cmap: str, vmax: float) -> Any:
    """One image, its hidden block outlined."""
    row, column = digits.corner[item] - 0.5
    edge = import_extra("matplotlib.patches", "matplotlib").Rectangle(
        (column, row), BLOCK, BLOCK, fill=False, ec=OUTLINE, lw=1.5
    )
    _bare(axes)
    axes.add_patch(edge)
    return axes.imshow(image, cmap=cmap, vmin=0, vmax=vmax)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[], facecolor=NOTHING)


def _find(fits: Sequence[Fitted], guide: str, backend: str) -> Fitted:
    return next(fit for fit in fits if (fit.guide, fit.backend) == (guide, backend))
