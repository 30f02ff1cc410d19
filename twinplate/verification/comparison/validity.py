"""Where a known inaccuracy has bounds: each number of a site, inside the ranges of the table or not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinplate.records.record import Array, Site
from twinplate.verification.comparison.inaccuracies import Inaccuracy

# Matrices by which a covariance is given, and the power of their condition number that is its own
MATRICES = {"covariance_matrix": 1, "precision_matrix": 1, "scale_tril": 2}
LOW_RANK = ("cov_factor", "cov_diag")


def bounded(
    inaccuracy: Inaccuracy, site: Site, shape: tuple[int, ...], role: str = ""
) -> npt.NDArray[np.bool_]:
    """Which log densities of `shape` the entry's bounds hold for; `role` is that of a part of the site.

    Of all of them together where that is not the shape of the site's own, (P, *batch_shape).
    """
    own = (1 if site.log_prob is None else len(site.log_prob), *site.batch_shape)
    within = np.ones(own, dtype=bool)
    for name, low, high in inaccuracy.inside:
        values = _looked_at(site, name, role)
        if values is not None:
            within &= _each(~((values < low) | (values > high)), len(own))
    return within if own == shape else np.full(shape, within.all())


def magnitude(
    inaccuracy: Inaccuracy, site: Site, shape: tuple[int, ...], role: str = ""
) -> npt.NDArray[np.float64]:
    """The largest number that the entry looks at, 1 at least; all arguments as in `bounded`."""
    own = (1 if site.log_prob is None else len(site.log_prob), *site.batch_shape)
    found = np.ones(own)
    for name, _, _ in inaccuracy.inside:
        values = _looked_at(site, name, role)
        if values is not None:
            each = np.abs(values).max(tuple(range(len(own), values.ndim)), initial=0.0)
            found = np.maximum(found, each)
    return found if own == shape else np.full(shape, found.max(initial=1.0))


def in_part(role: str, argument: str) -> str:
    """The name among a site's arguments of one of its part `role`, "" of its own."""
    return f"{role} {argument}".lstrip()


def _looked_at(site: Site, name: str, role: str) -> Array | None:
    if name == "value":
        return site.value
    if name == "log_prob":
        return site.log_prob
    if name == "power":
        return _power(site.value, site.arguments.get(in_part(role, "concentration1")))
    if name == "condition":
        own = {n: site.arguments.get(in_part(role, n)) for n in (*MATRICES, *LOW_RANK)}
        return _condition({n: values for n, values in own.items() if values is not None})
    return site.arguments.get(in_part(role, name))


def _power(value: Array | None, exponent: Array | None) -> Array | None:
    """The value to an exponent that may have a dim for components behind those of the value."""
    if value is None or exponent is None:
        return None
    with np.errstate(under="ignore"):
        powers = value.reshape(*value.shape, *(1,) * (exponent.ndim - value.ndim)) ** exponent
    return np.asarray(powers)


def _each(within: npt.NDArray[np.bool_], dims: int) -> npt.NDArray[np.bool_]:
    """Whether all entries of an element of the batch are within, (P, *batch) or what broadcasts to it."""
    return np.asarray(within.all(tuple(range(dims, within.ndim))))


def _condition(arguments: dict[str, Array]) -> Array | None:
    """Condition number of the covariance by which the site's density is given, None without one."""
    for name, power in MATRICES.items():
        if name in arguments:
            return np.asarray(np.linalg.cond(arguments[name]) ** power)
    if set(LOW_RANK) <= arguments.keys():
        factor, diagonal = arguments["cov_factor"], arguments["cov_diag"]
        covariance = factor @ np.swapaxes(factor, -1, -2)
        return np.asarray(
            np.linalg.cond(covariance + diagonal[..., None] * np.eye(diagonal.shape[-1]))
        )
    return None
