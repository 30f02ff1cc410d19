"""Entries of an item's sites that are known: which sites the frameworks make of them, and what is checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinplate.errors import InputError
from twinplate.guides.layout import SiteLayout
from twinplate.guides.structure import Frame

UNOBSERVED, OBSERVED = "_unobserved", "_observed"  # what both frameworks make of obs_mask


def observed_name(name: str) -> str | None:
    """The site that has the known entries of a site with `obs_mask`; None for another site.

    >>> observed_name("z_unobserved"), observed_name("z")
    ('z_observed', None)
    """
    if not name.endswith(UNOBSERVED):
        return None
    return name.removesuffix(UNOBSERVED) + OBSERVED


def whole_name(name: str) -> str | None:
    """The site that is made of both parts of a site with `obs_mask`; None for another site.

    >>> whole_name("z_unobserved"), whole_name("z")
    ('z', None)
    """
    return name.removesuffix(UNOBSERVED) if name.endswith(UNOBSERVED) else None


def check_known(site: SiteLayout, shape: Sequence[int], batch_shape: Sequence[int]) -> None:
    """Raise InputError unless `shape` broadcasts to the batch shape of a site of a joint sample."""
    sizes, order = site.unpacking(batch_shape)
    expected = tuple(sizes[place] for place in order[: len(order) - len(site.image)])
    try:
        fits = np.broadcast_shapes(tuple(shape), expected) == expected
    except ValueError:
        fits = False
    if not fits:
        raise InputError(
            f"known of site {site.name!r} has shape {tuple(shape)}; expected {expected}, or one that "
            "broadcasts to it: an entry for each one in the plates"
        )


def check_joint_kind(kind: type, allowed: tuple[type, ...]) -> None:
    """Raise InputError for a joint distribution from which single numbers cannot be left out."""
    if not issubclass(kind, allowed):
        raise InputError(
            f"the joint distribution is a {kind.__module__.split('.')[0]} {kind.__name__}, from which "
            "entries that are known cannot be left out; give MultivariateNormal, PackedMultivariateNormal or "
            "LowRankMultivariateNormal of this package"
        )


def check_whole(items: Frame) -> None:
    """Raise InputError for a mini-batch, where the posterior of all items is asked for."""
    if items.is_subsampled:
        raise InputError(
            f"the model takes {items.size} of the {items.full_size} items of plate {items.name!r}, and its "
            "obs_mask says which entries of those alone are known; ask for the posterior with all items: "
            "without a mini-batch"
        )
