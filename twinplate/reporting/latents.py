"""The latents of some items: how they are correlated, and how far their intervals reach."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
import scipy.sparse.linalg

from twinplate.data.blocks import Array
from twinplate.programs.linear_gaussian import Gaussian
from twinplate.training.state import Fit

SHOWN_ITEMS = 12
SHOWN_COMPONENTS = 60  # in a heat map
MATRIX_NUMBERS = 2**22  # of all correlation matrices together
LEVEL = 0.9


@dataclass(frozen=True, eq=False)
class Correlations:
    """exact, guide: (K, K), of one item, the one in the middle by what a diagonal guide would miss of it.

    item: its name.  largest: difference of any two correlations, over `items` items.
    exact is None with an amplitude.
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
    amplitude.
    """

    component: int
    names: tuple[str, ...]
    guide: tuple[Array, Array, Array]
    exact: tuple[Array, Array, Array] | None


def correlations(fit: Fit, x: Array, name_of: Callable[[int], str]) -> Correlations:
    """Of the items `x` (N, D), N ≥ 1, as many as fit into the memory."""
    model = fit.generative
    x = x[: max(1, MATRIX_NUMBERS // model.num_components**2)]
    guide = fit.posterior(x).correlation
    if not _has_exact(fit):
        return Correlations(guide[0], None, name_of(0), 0.0, len(x))
    gaps = model.family_gap(x, "diagonal")
    item = int(np.argsort(gaps, kind="stable")[len(gaps) // 2])
    exact = model.posterior(x).correlation
    return Correlations(
        guide[item], exact[item], name_of(item), float(np.abs(guide - exact).max()), len(x)
    )


def intervals(fit: Fit, x: Array, name_of: Callable[[int], str]) -> Intervals:
    """Of SHOWN_ITEMS of the items `x`, and of the component that explains most of their variance.

    Which items these are, the data alone say, so that runs on the same data show the same ones.
    """
    model = fit.generative
    component = int(np.argmax([part.share for part in fit.summary().components]))
    guide = fit.posterior(x)
    exact = model.posterior(x) if _has_exact(fit) else None
    order = _spread_out(x)
    order = order[np.argsort((exact or guide).loc[order, component], kind="stable")]
    return Intervals(
        component,
        tuple(name_of(n) for n in order),
        _interval(guide, component, order),
        None if exact is None else _interval(exact, component, order),
    )


def _spread_out(x: Array) -> np.ndarray:
    """SHOWN_ITEMS of the items `x` (N, D), or all, from one end to the other of how they vary most."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without an entry
        centred = (x - np.nanmean(x, 0)) / np.nanstd(x, 0)
    centred = np.nan_to_num(centred, posinf=0.0, neginf=0.0)
    along = centred[:, 0]
    if min(x.shape) > 1 and centred.any():
        start = np.ones(min(x.shape))
        along = centred @ scipy.sparse.linalg.svds(centred, k=1, v0=start)[2][0]
    order = np.argsort(along, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, SHOWN_ITEMS).round().astype(int))]


def _has_exact(fit: Fit) -> bool:
    return fit.program is not None and fit.program.config.amplitude_scale is None


def _interval(found: Gaussian, component: int, items: np.ndarray) -> tuple[Array, Array, Array]:
    loc = found.loc[items, component]
    sd = np.sqrt(np.sum(found.scale_tril[items, component] ** 2, axis=-1))
    half = float(scipy.special.ndtri((1 + LEVEL) / 2)) * sd
    return loc - half, loc, loc + half
