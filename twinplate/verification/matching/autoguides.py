"""What the libraries' autoguides keep differently is brought to one form, which is NumPyro's.

Pyro's AutoNormal samples `x_unconstrained` and hands it on to `x`; NumPyro's samples `x`. Pyro's
AutoMultivariateNormal keeps a scale and a unit triangle, NumPyro's their product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from twinplate.records.record import Array, Parameter, Site
from twinplate.verification.matching.unconstrained import unconstrained

SUFFIX = "_unconstrained"
JOINED = "transformed"  # how the family of a joined site begins
TRIANGLE = "scaled_unit_lower_cholesky"  # constraint of a scale joined to its unit triangle


def merge_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Join `x_unconstrained` to the `x` it is handed on to: one site with both densities."""
    merged = dict(sites)
    for name, site in sites.items():
        target = sites.get(name.removesuffix(SUFFIX))
        if target is None or target is site or target.family != "Delta":
            continue
        del merged[name]
        density = None
        if site.log_prob is not None and target.log_prob is not None:
            density = site.log_prob + target.log_prob
        joined = dataclasses.replace(target, log_prob=density, family=f"{JOINED} {site.family}")
        merged[name.removesuffix(SUFFIX)] = joined
    return merged


def split_draws(
    draws: Mapping[str, Array], guide: Mapping[str, Site], model: Mapping[str, Site]
) -> dict[str, Array]:
    """Draws, with those of `x_unconstrained` sites of `guide` made from `x` where they are missing."""
    images = {
        name: unconstrained(draws[base], model[base].support)
        for name in guide
        if (base := name.removesuffix(SUFFIX)) != name
        and name not in draws
        and base in draws
        and base in model
    }
    return {**draws, **{name: values for name, values in images.items() if values is not None}}


def triangles(parameters: Mapping[str, Parameter]) -> list[tuple[str, str]]:
    """Names of every scale and its unit triangle, (scale, triangle)."""
    return [
        (name.removesuffix("_tril"), name)
        for name, p in parameters.items()
        if name.endswith(".scale_tril")
        and p.constraint == "unit_lower_cholesky"
        and name.removesuffix("_tril") in parameters
    ]


def merge_parameters(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Join each scale and its unit triangle; the gradient has that of the scales on its diagonal."""
    merged = dict(parameters)
    for scale, triangle in triangles(parameters):
        diagonal, unit = merged.pop(scale), merged[triangle]
        gradient = None
        if diagonal.gradient is not None and unit.gradient is not None:
            below = np.tril(unit.gradient, -1)
            gradient = below + diagonal.gradient[..., None] * np.eye(below.shape[-1])
        value = diagonal.value[..., None] * unit.value
        merged[triangle] = Parameter(TRIANGLE, value, gradient)
    return merged


def merge_values(
    values: Mapping[str, Array], parameters: Mapping[str, Parameter]
) -> dict[str, Array]:
    """As `merge_parameters`, for values alone; `parameters` tells which are a scale and its triangle."""
    merged = dict(values)
    for scale, triangle in triangles(parameters):
        merged[triangle] = merged.pop(scale)[..., None] * merged[triangle]
    return merged


def split_values(
    values: Mapping[str, Array], parameters: Mapping[str, Parameter]
) -> dict[str, Array]:
    """The inverse of `merge_values`."""
    split = dict(values)
    for scale, triangle in triangles(parameters):
        if triangle in split and scale not in split:
            diagonal = np.diagonal(split[triangle], axis1=-2, axis2=-1)
            split[scale], split[triangle] = diagonal, split[triangle] / diagonal[..., None]
    return split
