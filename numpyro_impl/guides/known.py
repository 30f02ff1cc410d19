"""Sites of an item some entries of which are known: their numbers stand apart in the joint draw.

The normal of such an item is that of its other numbers: rows and columns of the known ones are left out of
its factor, and in their places stand standard normal numbers, which have to do with nothing and whose
density is taken off again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from numpyro_impl.programs.normal import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    PackedMultivariateNormal,
)
from twinplate.guides.known import check_joint_kind, check_known
from twinplate.guides.layout import JointLayout, SiteLayout

Known = Mapping[str, Array]  # by site: True where its value is known, broadcast to its batch shape


def known_numbers(layout: JointLayout, known: Known, batch_shape: tuple[int, ...]) -> Array:
    """(*batch, J): whether a number of the joint draw belongs to an entry that is known.

    batch_shape: of the joint normal. Raises InputError for a shape that does not fit a site's plates.
    """
    parts = [
        _of_site(site, known[site.name], batch_shape)
        if site.name in known
        else jnp.zeros(site.size, bool)
        for site in layout.sites
    ]
    batch = jnp.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return jnp.concatenate([jnp.broadcast_to(p, (*batch, p.shape[-1])) for p in parts], -1)


def _of_site(site: SiteLayout, known: Array, batch_shape: tuple[int, ...]) -> Array:
    check_known(site, known.shape, batch_shape)
    wide, order, shape = site.packing(known.shape, len(batch_shape))
    entries = jnp.broadcast_to(known, wide).transpose(order).reshape(shape)
    full = (*shape[:-1], math.prod(site.image))
    return jnp.broadcast_to(entries, full).reshape(*shape[:-2], -1)


def apart(normal: Any, known: Array) -> Any:
    """`normal` of the numbers that are not `known` (*batch, J), and standard normal ones of those that are.

    Raises InputError for a distribution that is none of `MultivariateNormal`, `PackedMultivariateNormal` and
    `LowRankMultivariateNormal`.

    >>> known = jnp.array([False, True, False])
    >>> below = jnp.array([0.25, 0.5, 0.75])
    >>> apart(PackedMultivariateNormal(jnp.ones(3), 2 * jnp.ones(3), below), known).scale_tril.tolist()
    [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 2.0]]
    """
    if isinstance(normal, LowRankMultivariateNormal):
        factor = jnp.where(known[..., None], 0.0, normal.cov_factor)
        diagonal = jnp.where(known, 1.0, normal.cov_diag)
        return LowRankMultivariateNormal(_loc(normal, known), factor, diagonal)
    if isinstance(normal, PackedMultivariateNormal):
        rows, columns = np.tril_indices(known.shape[-1], -1)
        lower = normal.lower
        if lower.shape[-1]:
            lower = jnp.where(known[..., rows] | known[..., columns], 0.0, lower)
        scale = jnp.where(known, 1.0, normal.scale)
        return PackedMultivariateNormal(_loc(normal, known), scale, lower)
    check_joint_kind(type(normal), (MultivariateNormal,))
    pair = known[..., None] | known[..., None, :]
    tril = jnp.where(pair, jnp.eye(known.shape[-1]), normal.scale_tril)
    return MultivariateNormal(_loc(normal, known), scale_tril=tril)


def density_of_known(vector: Array, known: Array) -> Array:
    """(*batch,): the log density of the known ones among the numbers of a joint draw."""
    each = -0.5 * jnp.square(vector) - 0.5 * math.log(2 * math.pi)
    return jnp.where(known, each, 0.0).sum(-1)


def _loc(normal: Any, known: Array) -> Array:
    return jnp.where(known, 0.0, normal.loc)
