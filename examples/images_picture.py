"""What a guide says of new images, in one picture."""

import matplotlib.pyplot as plt
import numpy as np
from images_data import SIDE
from scipy.stats import norm

NAMES = ["component 1", "component 2", "component 3", "log contrast"]


def coverage(loc, covariance, images, level=0.9):
    """How often intervals of that level hold the true components and log contrast."""
    return np.mean(np.abs(_standardised(loc, covariance, images)) < norm.ppf((1 + level) / 2))


def _standardised(loc, covariance, images):
    truth = np.column_stack([images.a, np.log(images.contrast)])
    return (truth - loc) / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))


def draw(path, images, clean, loc, covariance, shown=4):
    """Images and reconstructions above; below, correlations within an image and the intervals' coverage."""
    fig = plt.figure(figsize=(9, 7.5), layout="constrained")
    top, bottom = fig.subfigures(2, 1, height_ratios=[1.25, 1])
    _reconstructions(top, images, clean, shown)
    left, right = bottom.subplots(1, 2)
    _correlations(bottom, left, covariance)
    _calibration(right, _standardised(loc, covariance, images))
    fig.savefig(path, dpi=110)
    plt.close(fig)


def _reconstructions(figure, images, clean, shown):
    rows = {
        "seen": images.pixels,
        "posterior mean": clean.mean(0),
        "truth": images.clean,
        "uncertainty": clean.std(0),
    }
    axes = figure.subplots(shown, len(rows)).T
    for column, (name, pixels) in zip(axes, rows.items(), strict=True):
        column[0].set_title(name)
        for axis, image in zip(column, pixels[:shown], strict=True):
            limits = {} if name == "uncertainty" else {"vmin": -1, "vmax": 2}
            axis.imshow(image.reshape(SIDE, SIDE), cmap="gray", **limits)
            axis.set_axis_off()


def _correlations(figure, axis, covariance):
    scale = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    mean = (covariance / (scale[:, :, None] * scale[:, None, :])).mean(0)
    shown = axis.imshow(mean, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_xticks(range(4), NAMES, rotation=30, ha="right")
    axis.set_yticks(range(4), NAMES)
    for i in range(4):
        for j in range(4):
            colour = "white" if abs(mean[i, j]) > 0.6 else "black"
            axis.text(j, i, f"{mean[i, j]:.2f}", ha="center", va="center", color=colour)
    axis.set_title("correlation within an image, mean")
    figure.colorbar(shown, ax=axis, shrink=0.8)


def _calibration(axis, z):
    levels = np.linspace(0.02, 0.98, 49)
    axis.plot([0, 1], [0, 1], color="0.7", label="exact")
    for j, name in enumerate(NAMES):
        inside = [np.mean(np.abs(z[:, j]) < norm.ppf((1 + level) / 2)) for level in levels]
        axis.plot(levels, inside, label=name)
    axis.set(xlabel="level of the interval", ylabel="holds the truth", title="200 new images")
    axis.legend(fontsize="small")
    axis.set_aspect("equal")
