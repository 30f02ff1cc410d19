"""Sites of an item some entries of which are known: their numbers stand apart in the joint draw.

The normal of such an item is that of its other numbers: rows and columns of the known ones are left out of
its factor, and in their places stand standard normal numbers, which have to do with nothing and whose
density is taken off again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor

from pyro_impl.programs.normal import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    PackedMultivariateNormal,
)
from twinplate.guides.known import check_joint_kind, check_known
from twinplate.guides.layout import JointLayout, SiteLayout

Known = Mapping[str, Tensor]  # by site: True where its value is known, broadcast to its batch shape


def known_numbers(layout: JointLayout, known: Known, batch_shape: torch.Size) -> Tensor:
    """(*batch, J): whether a number of the joint draw belongs to an entry that is known.

    batch_shape: of the joint normal. Raises InputError for a shape that does not fit a site's plates.
    """
    parts = [
        _of_site(site, known[site.name], batch_shape)
        if site.name in known
        else torch.zeros(site.size, dtype=torch.bool)
        for site in layout.sites
    ]
    batch = broadcast_shape(*(part.shape[:-1] for part in parts))
    device = next(iter(known.values())).device
    return torch.cat([part.to(device).expand(*batch, -1) for part in parts], -1)


def _of_site(site: SiteLayout, known: Tensor, batch_shape: torch.Size) -> Tensor:
    check_known(site, known.shape, batch_shape)
    wide, order, shape = site.packing(known.shape, len(batch_shape))
    entries = known.broadcast_to(wide).permute(order).reshape(shape)
    return entries.expand(*shape[:-1], math.prod(site.image)).flatten(-2)


def apart(normal: Any, known: Tensor) -> Any:
    """`normal` of the numbers that are not `known` (*batch, J), and standard normal ones of those that are.

    Raises InputError for a distribution that is none of `MultivariateNormal`, `PackedMultivariateNormal` and
    `LowRankMultivariateNormal`.

    >>> known = torch.tensor([False, True, False])
    >>> below = torch.tensor([0.25, 0.5, 0.75])
    >>> apart(PackedMultivariateNormal(torch.ones(3), 2 * torch.ones(3), below), known).scale_tril.tolist()
    [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 2.0]]
    """
    if isinstance(normal, LowRankMultivariateNormal):
        factor, diagonal = normal.cov_factor, normal.cov_diag
        factor = factor.masked_fill(known[..., None], 0.0)
        diagonal = diagonal.masked_fill(known, 1.0)
        return LowRankMultivariateNormal(_loc(normal, known), factor, diagonal)
    if isinstance(normal, PackedMultivariateNormal):
        rows, columns = torch.tril_indices(known.shape[-1], known.shape[-1], -1)
        lower = normal.lower
        if lower.shape[-1]:
            lower = lower.masked_fill(known[..., rows] | known[..., columns], 0.0)
        scale = normal.scale.masked_fill(known, 1.0)
        return PackedMultivariateNormal(_loc(normal, known), scale, lower)
    check_joint_kind(type(normal), (MultivariateNormal,))
    pair = known[..., None] | known[..., None, :]
    identity = torch.eye(known.shape[-1]).to(normal.loc)
    tril = torch.where(pair, identity, normal.scale_tril)
    return MultivariateNormal(_loc(normal, known), scale_tril=tril)


def density_of_known(vector: Tensor, known: Tensor) -> Tensor:
    """(*batch,): the log density of the known ones among the numbers of a joint draw."""
    each = -0.5 * vector.square() - 0.5 * math.log(2 * math.pi)
    return each.masked_fill(~known, 0.0).sum(-1)


def _loc(normal: Any, known: Tensor) -> Tensor:
    return normal.loc.masked_fill(known, 0.0)
