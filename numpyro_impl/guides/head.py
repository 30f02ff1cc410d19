"""The last layer of a guide: an item's features, or its own parameters, to its multivariate normal."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from numpyro.distributions import constraints

from numpyro_impl.guides.cutting import cut_gradients
from numpyro_impl.programs.normal import LowRankMultivariateNormal, PackedMultivariateNormal
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

Numbers = tuple[Array, Array, Array]  # loc (B, J), scale (B, J) > 0 and rest (B, ...)
ItemNormal = PackedMultivariateNormal | LowRankMultivariateNormal


def amortized_numbers(
    prefix: str,
    inputs: list[Array],
    features: Array,
    layout: JointLayout,
    covariance: Covariance,
    median: Callable[[Array], Array],
) -> Numbers:
    """What the head makes of an encoder's `features` (B, F) of `inputs`, (B, ...) each.

    Parameters `{prefix}_head_weight` (H, F), `{prefix}_head_bias` (H,) and, for a single input of real
    numbers, `{prefix}_skip_weight` (J, D), from its D numbers to loc. median: of the priors, (J,), where
    loc starts. Gradients of items that stand out are cut.
    """
    check_features(features.shape, len(inputs[0]))
    check_precision("the encoder", str(features.dtype))
    size = layout.size

    def first_bias(key: Array) -> Array:
        first = covariance.first_bias(np.zeros(size))
        return jnp.asarray(first, features.dtype).at[:size].set(median(key))

    bias = numpyro.param(f"{prefix}_head_bias", first_bias)
    shape = covariance.head_size(size), features.shape[1]
    weight = numpyro.param(f"{prefix}_head_weight", jnp.zeros(shape, features.dtype))
    check_head(prefix, bias.shape, weight.shape, features.shape[1], (layout, covariance))
    numbers = features @ weight.mT + bias
    if len(inputs) == 1 and jnp.issubdtype(inputs[0].dtype, jnp.floating):
        x = inputs[0].reshape(len(inputs[0]), -1)
        skip = numpyro.param(f"{prefix}_skip_weight", jnp.zeros((size, x.shape[1]), x.dtype))
        check_skip(f"{prefix}_skip_weight", skip.shape, (size, x.shape[1]))
        numbers = numbers.at[:, :size].add(x @ skip.mT)
    loc, raw, below = jnp.split(cut_gradients(numbers), [size, 2 * size], -1)
    return loc, jax.nn.softplus(raw), below


def own_numbers(
    prefix: str,
    num_items: int,
    layout: JointLayout,
    covariance: Covariance,
    median: Callable[[Array], Array],
) -> Numbers:
    """Those of all N items, which are parameters.

    `{prefix}_item_loc` (N, J), `{prefix}_item_scale` (N, J) and `{prefix}_item_rest` (N, ...).
    """

    def rows(numbers: Array) -> Array:
        return jnp.broadcast_to(numbers, (num_items, numbers.size))

    loc = numpyro.param(f"{prefix}_item_loc", lambda key: rows(median(key)))
    check_rows(f"{prefix}_item_loc", loc.shape, num_items, layout)
    scale = numpyro.param(
        f"{prefix}_item_scale",
        jnp.full_like(loc, FIRST_SCALE),
        constraint=constraints.softplus_positive,
    )
    first = covariance.first_rest(layout.size)
    if not first.size:
        return loc, scale, loc[:, :0]
    rest = numpyro.param(f"{prefix}_item_rest", rows(jnp.asarray(first, loc.dtype)))
    return loc, scale, rest


def item_normal(
    loc: Array, scale: Array, rest: Array, layout: JointLayout, covariance: Covariance
) -> ItemNormal:
    """The normal of J numbers an item: `loc` and `scale` (..., J), `rest` as the covariance has it.

    "full" takes the packed triangle below the diagonal (..., J (J - 1) / 2) and "blocks" the same, of which
    only entries within a site count; "low_rank" a factor (..., J R) row by row, "diagonal" nothing (..., 0).

    >>> from twinplate.guides.layout import joint_layout
    >>> layout = joint_layout({"a": ((), ()), "b": ((), ())})
    >>> loc, scale, lower = jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.array([[0.5]])
    >>> item_normal(loc, scale, lower, layout, Covariance("full")).scale_tril.tolist()
    [[[1.0, 0.0], [0.5, 1.0]]]
    >>> item_normal(loc, scale, lower, layout, Covariance("blocks")).scale_tril.tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    if covariance.kind == "low_rank":
        factor = rest.reshape(*rest.shape[:-1], layout.size, -1)
        return LowRankMultivariateNormal(loc, factor, jnp.square(scale))
    if covariance.kind == "blocks":
        rest = rest * jnp.asarray(layout.within_sites(), rest.dtype)
    return PackedMultivariateNormal(loc, scale, rest)
