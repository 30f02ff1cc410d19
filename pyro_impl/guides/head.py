"""The last layer of a guide: an item's features, or its own parameters, to its multivariate normal."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro.distributions import constraints
from torch import Tensor

from pyro_impl.guides.cutting import cut_gradients
from pyro_impl.programs.normal import LowRankMultivariateNormal, PackedMultivariateNormal
from twinplate.guides.head import (
    FIRST_SCALE,
    Covariance,
    check_features,
    check_head,
    check_rows,
    check_skip,
)
from twinplate.guides.inputs import check_precision
from twinplate.guides.layout import JointLayout

Numbers = tuple[Tensor, Tensor, Tensor]  # loc (B, J), scale (B, J) > 0 and rest (B, ...)
ItemNormal = PackedMultivariateNormal | LowRankMultivariateNormal


def positive(numbers: Tensor) -> Tensor:
    """softplus; by logaddexp, as torch's own is linear above 20."""
    return torch.logaddexp(numbers, numbers.new_zeros(()))


def amortized_numbers(
    prefix: str,
    inputs: list[Tensor],
    features: Tensor,
    layout: JointLayout,
    covariance: Covariance,
    median: Callable[[], Tensor],
) -> Numbers:
    """What the head makes of an encoder's `features` (B, F) of `inputs`, (B, ...) each.

    Parameters `{prefix}_head_weight` (H, F), `{prefix}_head_bias` (H,) and, for a single input of real
    numbers, `{prefix}_skip_weight` (J, D), from its D numbers to loc. median: of the priors, (J,), where
    loc starts. Gradients of items that stand out are cut.
    """
    check_features(features.shape, len(inputs[0]))
    check_precision("the encoder", str(features.dtype).removeprefix("torch."))
    size, rest = layout.size, covariance.rest_size(layout.size)

    def first_bias() -> Tensor:
        first = covariance.first_bias(median().double().cpu().numpy())
        return torch.as_tensor(first).to(features)

    bias = pyro.param(f"{prefix}_head_bias", first_bias)
    shape = covariance.head_size(size), features.shape[1]
    weight = pyro.param(f"{prefix}_head_weight", lambda: features.new_zeros(shape))
    check_head(prefix, bias.shape, weight.shape, features.shape[1], (layout, covariance))
    numbers = features @ weight.mT + bias
    if len(inputs) == 1 and inputs[0].is_floating_point():
        x = inputs[0].reshape(len(inputs[0]), -1)
        skip = pyro.param(f"{prefix}_skip_weight", lambda: x.new_zeros(size, x.shape[1]))
        check_skip(f"{prefix}_skip_weight", skip.shape, (size, x.shape[1]))
        numbers = torch.cat([numbers[:, :size] + x @ skip.mT, numbers[:, size:]], -1)
    loc, raw, below = cut_gradients(numbers).split([size, size, rest], -1)
    return loc, positive(raw), below


def own_numbers(
    prefix: str,
    num_items: int,
    layout: JointLayout,
    covariance: Covariance,
    median: Callable[[], Tensor],
) -> Numbers:
    """Those of all N items, which are parameters.

    `{prefix}_item_loc` (N, J), `{prefix}_item_scale` (N, J) and `{prefix}_item_rest` (N, ...).
    """

    def rows(numbers: Tensor) -> Tensor:
        return numbers.expand(num_items, -1).contiguous()

    loc = pyro.param(f"{prefix}_item_loc", lambda: rows(median()))
    check_rows(f"{prefix}_item_loc", loc.shape, num_items, layout)
    scale = pyro.param(
        f"{prefix}_item_scale",
        lambda: torch.full_like(loc, FIRST_SCALE),
        constraint=constraints.softplus_positive,
    )
    first = covariance.first_rest(layout.size)
    if not first.size:
        return loc, scale, loc[:, :0]
    rest = pyro.param(f"{prefix}_item_rest", lambda: rows(torch.as_tensor(first).to(loc)))
    return loc, scale, rest


def item_normal(
    loc: Tensor, scale: Tensor, rest: Tensor, layout: JointLayout, covariance: Covariance
) -> ItemNormal:
    """The normal of J numbers an item: `loc` and `scale` (..., J), `rest` as the covariance has it.

    "full" takes the packed triangle below the diagonal (..., J (J - 1) / 2) and "blocks" the same, of which
    only entries within a site count; "low_rank" a factor (..., J R) row by row, "diagonal" nothing (..., 0).

    >>> from twinplate.guides.layout import joint_layout
    >>> layout = joint_layout({"a": ((), ()), "b": ((), ())})
    >>> loc, scale, lower = torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([[0.5]])
    >>> item_normal(loc, scale, lower, layout, Covariance("full")).scale_tril.tolist()
    [[[1.0, 0.0], [0.5, 1.0]]]
    >>> item_normal(loc, scale, lower, layout, Covariance("blocks")).scale_tril.tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    if covariance.kind == "low_rank":
        factor = rest.unflatten(-1, (layout.size, -1))
        return LowRankMultivariateNormal(loc, factor, scale.square())
    if covariance.kind == "blocks":
        rest = rest * torch.as_tensor(layout.within_sites()).to(rest)
    return PackedMultivariateNormal(loc, scale, rest)
