"""The latents of some items: how they are correlated, and how far their intervals reach."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy
import scipy.sparse.linalg

from twinplate.data.blocks import Array
from twinplate.programs.importance import weighted_draws
from twinplate.programs.linear_gaussian import Gaussian
from twinplate.training.state import Fit

SHOWN_ITEMS = 12
SHOWN_COMPONENTS = 60  # in a heat map
MATRIX_NUMBERS = 2**22  # of all correlation matrices together
LEVEL = 0.9
WEIGHTED = 4000  # draws of the latents of an item of counts that is shown


@dataclass(frozen=True, eq=False)
class Correlations:
    """exact, guide: (K, K), of one item, in the middle of all by its data.

    item: its name.  largest: difference of any two correlations, over `items` items.
    exact is None with an amplitude; of counts it is by importance-weighted draws.
    """

    guide: Array
    exact: Array | None
    item: str
    largest: float
    items: int


@dataclass(frozen=True, eq=False)
class Intervals:
    """Central intervals of one component, of some items in the order of their means.

    component: from 0.  guide, exact: three arrays (n,) each, low, middle and high; exact is None with an
    amplitude; of counts it is by importance-weighted draws.
    """

    component: int
    names: tuple[str, ...]
    guide: tuple[Array, Array, Array]
    exact: tuple[Array, Array, Array] | None


def correlations(
    fit: Fit, x: Array, name_of: Callable[[int], str], offsets: Array | None = None
) -> Correlations:
    """Of an item in the middle of the items `x` (N, D), N ≥ 1, by their data alone.

    Runs on the same data show the same one. offsets: (N,), of counts.
    """
    item = int(_spread_order(x)[len(x) // 2])
    if _is_counts(fit):
        guide = fit.posterior(x[[item]], offsets=_some(offsets, [item])).correlation[0]
        draws, weights = _weighted(fit, x[[item]], _some(offsets, [item]))
        covariance = np.cov(draws[:, 0].T, aweights=weights[:, 0]).reshape(guide.shape)
        sd = np.sqrt(np.diag(covariance))
        by_weights = covariance / np.outer(sd, sd)
        return Correlations(
            guide, by_weights, name_of(item), float(np.abs(guide - by_weights).max()), 1
        )
    shown = fit.posterior(x[[item]]).correlation[0]
    if not _has_exact(fit):
        return Correlations(shown, None, name_of(item), 0.0, len(x))
    model = fit.generative
    exact = model.posterior(x[[item]]).correlation[0]
    x = x[: max(1, MATRIX_NUMBERS // model.num_components**2)]
    apart = np.abs(fit.posterior(x).correlation - model.posterior(x).correlation)
    largest = max(float(apart.max()), float(np.abs(shown - exact).max()))
    return Correlations(shown, exact, name_of(item), largest, len(x))


def intervals(
    fit: Fit, x: Array, name_of: Callable[[int], str], offsets: Array | None = None
) -> Intervals:
    """Of SHOWN_ITEMS of the items `x`, and of the component that explains most of their variance.

    Which items these are, the data alone say, so that runs on the same data show the same ones.
    """
    component = int(np.argmax([part.share for part in fit.summary().components]))
    order = _spread_order(x)
    order = order[np.unique(np.linspace(0, len(order) - 1, SHOWN_ITEMS).round().astype(int))]
    x, of = x[order], _some(offsets, order)
    guide = _interval(fit.posterior(x, offsets=of), component)
    exact = None
    if _is_counts(fit):
        exact = _weighted_interval(*_weighted(fit, x, of), component)
    elif _has_exact(fit):
        exact = _interval(fit.generative.posterior(x), component)
    rising = np.argsort((exact or guide)[1], kind="stable")
    return Intervals(
        component,
        tuple(name_of(n) for n in order[rising]),
        _reordered(guide, rising),
        None if exact is None else _reordered(exact, rising),
    )


def _spread_order(x: Array) -> np.ndarray:
    """The items `x` (N, D) from one end to the other of how they vary most, (N,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without an entry
        centred = (x - np.nanmean(x, 0)) / np.nanstd(x, 0)
    centred = np.nan_to_num(centred, posinf=0.0, neginf=0.0)
    along = centred[:, 0]
    if min(x.shape) > 1 and centred.any():
        start = np.ones(min(x.shape))
        along = centred @ scipy.sparse.linalg.svds(centred, k=1, v0=start)[2][0]
    return np.argsort(along, kind="stable")


def _has_exact(fit: Fit) -> bool:
    return fit.program is not None and fit.program.config.amplitude_scale is None


def _is_counts(fit: Fit) -> bool:
    return fit.program is not None and fit.program.config.likelihood != "normal"


def _some(offsets: Array | None, items: npt.ArrayLike) -> Array | None:
    return None if offsets is None else offsets[np.asarray(items)]


def _weighted(fit: Fit, x: Array, offsets: Array | None) -> tuple[Array, Array]:
    """Draws of the latents of a few items of counts, and their weights."""
    parts = fit.posterior_blocks(x, offsets=offsets)
    return weighted_draws(fit.generalised, x, offsets, parts, WEIGHTED)


def _interval(found: Gaussian, component: int) -> tuple[Array, Array, Array]:
    loc = found.loc[:, component]
    sd = np.sqrt(np.sum(found.scale_tril[:, component] ** 2, axis=-1))
    half = float(scipy.special.ndtri((1 + LEVEL) / 2)) * sd
    return loc - half, loc, loc + half


def _weighted_interval(draws: Array, weights: Array, component: int) -> tuple[Array, Array, Array]:
    """The same of weighted draws: their quantiles, and their mean in the middle."""
    values = draws[..., component]
    order = np.argsort(values, axis=0)
    values, weights = (np.take_along_axis(part, order, axis=0) for part in (values, weights))
    below = np.cumsum(weights, axis=0)
    tail = (1 - LEVEL) / 2
    ends = [
        np.array([np.interp(p, below[:, n], values[:, n]) for n in range(values.shape[1])])
        for p in (tail, 1 - tail)
    ]
    return ends[0], np.sum(weights * values, axis=0), ends[1]


def _reordered(found: tuple[Array, Array, Array], order: np.ndarray) -> tuple[Array, Array, Array]:
    low, middle, high = (part[order] for part in found)
    return low, middle, high
