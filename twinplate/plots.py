"""The demo's pictures: ELBO against steps, posterior correlations, hidden regions filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinplate.config import GUIDES, TrainingConfig
from twinplate.demo_report import LABELS, Fitted, coverage, fill_in_sd
from twinplate.digits import BLOCK, SIDE, Digits
from twinplate.errors import InputError
from twinplate.linear_gaussian import Array, Gaussian, LinearGaussian
from twinplate.seeds import batch_indices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinct for all common kinds of colour vision
COLOURS = {"diagonal": "#D55E00", "event": "#56B4E9", "auxiliary": "#009E73"}
WINDOW = 50  # steps of the running mean of a curve
SHOWN = (0, 2, 3, 5, 8)  # digits whose hidden region is drawn
DPI = 150


def require_matplotlib() -> None:
    """Raise InputError, naming the extra, where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "the demo's pictures need matplotlib, which cannot be imported; install it with: "
            "pip install 'twinplate[all]'"
        ) from error


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
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    return Figure(figsize=(width, height), layout="constrained")


def elbo_figure(
    x: Array, generative: LinearGaussian, fits: Sequence[Fitted], training: TrainingConfig
) -> Figure:
    """ELBO per image against steps under the one exact line, and its distance from it."""
    evidence = generative.log_evidence(x)
    family_gap = generative.family_gap(x, "diagonal").mean()
    figure = _figure(11, 4.8)
    left, right = figure.subplots(1, 2)
    for fit in fits:
        steps, missed = missed_by_step(fit.losses, evidence, training)
        style = _line_style(fit)
        left.plot(steps, evidence.mean() - missed, **style)
        right.plot(steps, missed, **style)
    exact = {"color": "black", "lw": 1.2}
    optimum = {"color": COLOURS["diagonal"], "lw": 1.2, "ls": (0, (1, 1.5))}
    left.axhline(evidence.mean(), label="exact log evidence", **exact)
    left.axhline(evidence.mean() - family_gap, label="best diagonal guide (closed form)", **optimum)
    right.axhline(family_gap, **optimum)
    left.set_ylim(evidence.mean() - 2.2 * family_gap, evidence.mean() + 0.15 * family_gap)
    left.set_ylabel("ELBO (nats per image)")
    left.set_title("No guide rises above the exact line")
    right.set_yscale("log")
    right.set_ylabel("log evidence − ELBO (nats per image)")
    right.set_title("What is missing: the diagonal guide stops at its family gap")
    right.annotate(
        f"family gap {family_gap:.2f}",
        (training.steps, family_gap),
        xytext=(0, -5),
        textcoords="offset points",
        ha="right",
        va="top",
        color=COLOURS["diagonal"],
    )
    for axes in (left, right):
        axes.set_xlim(0, training.steps)
        axes.set_xlabel(
            f"step (mini-batches of {training.batch_size}; running mean over {WINDOW} steps)"
        )
        axes.grid(alpha=0.25, which="both", lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(loc="lower right", fontsize=8.5, framealpha=1)
    return figure


def missed_by_step(losses: Array, evidence: Array, training: TrainingConfig) -> tuple[Array, Array]:
    """Steps and log evidence - ELBO per item, as a running mean over WINDOW steps.

    Every mini-batch is held against the exact log evidence of its own items, so that which items it
    holds makes no noise.
    """
    indices = batch_indices(training.seed, 0, training.steps, len(evidence), training.batch_size)
    missed = evidence[indices].mean(axis=1) + losses
    window = min(WINDOW, len(missed))
    steps = np.arange(len(missed) - window + 1) + (window + 1) / 2
    return steps, np.convolve(missed, np.full(window, 1 / window), mode="valid")


def _line_style(fit: Fitted) -> dict[str, Any]:
    """Pyro solid, NumPyro dashed over it; the event guide wide, since the auxiliary one hides it."""
    numpyro = fit.backend == "numpyro"
    colour = COLOURS[fit.guide]
    wide = 4.5 if fit.guide == "event" else 2.2
    return {
        "color": _darker(colour) if numpyro else colour,
        "ls": (0, (4, 3)) if numpyro else "-",
        "lw": 1.2 if numpyro else wide,
        "label": f"{fit.guide}, {LABELS[fit.backend]}",
    }


def _darker(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return 0.55 * red, 0.55 * green, 0.55 * blue


def correlation_figure(
    digits: Digits, generative: LinearGaussian, fits: Sequence[Fitted]
) -> Figure:
    """Posterior correlation of the components of one typical image, exact beside each guide."""
    gap = generative.family_gap(digits.x, "diagonal")
    item = int(np.argsort(gap)[len(gap) // 2])
    figure = _figure(12, 6.2)
    exact_side, guides_side = figure.subfigures(1, 2, width_ratios=(1.05, 1.5))
    axes = exact_side.subplots()
    exact = generative.posterior(digits.x[item : item + 1]).correlation[0]
    image = _correlation(axes, exact)
    _write_values(axes, exact)
    axes.set_title("exact posterior")
    axes.set_xlabel("component: average image of the digit …")
    axes.set_ylabel("component: average image of the digit …")
    panels = guides_side.subplots(len(LABELS), len(GUIDES))
    for row, backend in zip(panels, LABELS, strict=True):
        for axes, guide in zip(row, GUIDES, strict=True):
            fit = _find(fits, guide, backend)
            found = fit.posterior.correlation[item]
            _correlation(axes, found)
            axes.set_title(f"{guide}, {LABELS[backend]}", fontsize=10)
            off = np.abs(found - exact).max()
            axes.set_xlabel(f"largest error {off:.2f}", fontsize=9)
    figure.colorbar(image, ax=panels, label="posterior correlation", shrink=0.8)
    figure.suptitle(
        f"Correlations of the weights of one image given its visible pixels (image {item}, a "
        f"{digits.label[item]}; the median family gap, {gap[item]:.2f} nats)"
    )
    return figure


def _correlation(axes: Axes, matrix: Array) -> Any:
    shown = np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)  # ones say nothing
    axes.set_facecolor("0.85")
    axes.set_xticks(range(len(matrix)))
    axes.set_yticks(range(len(matrix)))
    axes.tick_params(length=0, labelsize=8)
    return axes.imshow(shown, cmap="PuOr", vmin=-1, vmax=1)


def _write_values(axes: Axes, matrix: Array) -> None:
    for row, column in np.argwhere((np.abs(matrix) >= 0.2) & ~np.eye(len(matrix), dtype=bool)):
        value = matrix[row, column]
        axes.text(
            column,
            row,
            f"{value:.1f}".replace("-", "−").replace("0.", "."),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if abs(value) > 0.6 else "black",
        )


def inpainting_figure(digits: Digits, generative: LinearGaussian, fits: Sequence[Fitted]) -> Figure:
    """Hidden regions filled in: the mean and the standard deviation, exact and by each guide."""
    posteriors = {"exact": generative.posterior(digits.x)}
    posteriors |= {guide: _find(fits, guide, "numpyro").posterior for guide in GUIDES}
    means = {name: generative.reconstruct(q)[0] for name, q in posteriors.items()}
    sds = {name: fill_in_sd(generative, q) for name, q in posteriors.items()}
    held = {
        name: coverage(digits, generative, q, digits.complete) for name, q in posteriors.items()
    }
    items = shown_items(digits)
    largest = max(sd[items][digits.hidden[items]].max() for sd in sds.values())
    figure = _figure(13, 7.6)
    panels = figure.subplots(len(items), 10, gridspec_kw={"width_ratios": [1] * 10})
    for row, item in zip(panels, items, strict=True):
        visible, hidden = ~digits.hidden[item], digits.hidden[item]
        pictures = [digits.complete[item], np.where(visible, digits.complete[item], np.nan)]
        pictures += [np.where(visible, digits.complete[item], m[item]) for m in means.values()]
        for axes, values in zip(row, pictures, strict=False):
            grey = _draw(axes, digits, values, item, cmap="gray_r", vmin=0, vmax=16)
        for axes, sd in zip(row[len(pictures) :], sds.values(), strict=True):
            values = np.where(hidden, sd[item], np.nan)
            heat = _draw(axes, digits, values, item, cmap="cividis", vmin=0, vmax=largest)
    titles = ["image", "visible"]
    titles += [f"{name}\n{held[name]:.1%}" for name in posteriors] * 2
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    figure.colorbar(grey, ax=panels[:, :6], location="bottom", label="grey level", aspect=60)
    figure.colorbar(
        heat,
        ax=panels[:, 6:],
        location="bottom",
        label="posterior sd of the noiseless pixel (grey levels)",
        aspect=40,
    )
    return figure


def shown_items(digits: Digits) -> list[int]:
    """The first image of each digit of SHOWN whose hidden block is at the centre."""
    centre = (SIDE - BLOCK) // 2
    central = np.all(digits.corner == centre, axis=1)
    return [int(np.flatnonzero(central & (digits.label == digit))[0]) for digit in SHOWN]


def _draw(axes: Axes, digits: Digits, values: Array, item: int, **style: Any) -> Any:
    """One image; the hidden block outlined."""
    from matplotlib.patches import Rectangle

    row, column = digits.corner[item] - 0.5
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("0.85")
    axes.add_patch(Rectangle((column, row), BLOCK, BLOCK, fill=False, ec="#CC79A7", lw=1.5))
    return axes.imshow(digits.image(values), **style)


def _find(fits: Sequence[Fitted], guide: str, backend: str) -> Fitted:
    return next(fit for fit in fits if (fit.guide, fit.backend) == (guide, backend))
