"""The joint latent of an autoguide, whose numbers the libraries pack in different orders.

Pyro packs the sites as they are executed, NumPyro by name; what is a site for each step of a loop is
one stacked site of a scan. A reordered location or scale is only a reordered vector; the Cholesky
factor of a reordered covariance is not a reordered factor, so values and gradients of a factor go by
way of the covariance.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twinplate.records.record import Array, Parameter, Run, Site
from twinplate.verification.matching.parameters import role_in
from twinplate.verification.matching.site_layouts import layout_of
from twinplate.verification.matching.sites import (
    AUTOGUIDE_LATENT,
    SiteMatch,
    guide_of,
    names_unpacked,
    split,
)

# Arguments and parameters of the joint latent, a vector of D numbers, by how a new order changes them.
ELEMENTWISE = ("loc", "scale", "cov_diag", "v", "value")  # (D,)
ROWS = "cov_factor"  # (D, R)
FACTOR = "scale_tril"  # (D, D)


@dataclass(frozen=True)
class JointOrder:
    """One joint latent by its names in two programs, and where the second's numbers are in the first's.

    order: (D,). Number i of the second's latent is number order[i] of the first's.
    """

    first: str
    second: str
    order: Array

    @property
    def inverse(self) -> Array:
        """Where the numbers of the first's latent are in the second's."""
        return np.argsort(self.order)

    def draws_to_second(self, draws: Mapping[str, Array]) -> dict[str, Array]:
        """Draws by the second program's names, the joint latent in its order."""
        own = dict(draws)
        if self.second in own:
            own[self.second] = own[self.second][..., self.order]
        return own

    def values_to_second(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Values of parameters, in the second program's order."""
        return {
            name: reordered(joint_role(name, self.second), v, self.order)
            for name, v in values.items()
        }

    def run_to_first(self, run: Run) -> Run:
        """What the second program showed, under the first's names, in the first's order."""
        guide = dict(run.guide)
        if self.first in guide:
            guide[self.first] = self._site(guide[self.first])
        parameters = {name: self._parameter(name, p) for name, p in run.parameters.items()}
        return dataclasses.replace(run, guide=guide, parameters=parameters)

    def _site(self, site: Site) -> Site:
        def entries(values: Array | None) -> Array | None:
            fits = values is not None and values.shape[-1:] == self.order.shape
            return values[..., self.inverse] if fits and values is not None else values

        arguments = {
            name: reordered(name, values, self.inverse)
            for name, values in site.arguments.items()
            if name in (*ELEMENTWISE, ROWS)
        }
        density = entries(site.log_prob) if site.batch_shape else site.log_prob
        return dataclasses.replace(
            site,
            value=entries(site.value),
            log_prob=density,
            arguments=arguments,
            scale=np.asarray(entries(site.scale))
            if isinstance(site.scale, np.ndarray)
            else site.scale,
        )

    def _parameter(self, name: str, parameter: Parameter) -> Parameter:
        role = joint_role(name, self.first)
        value = reordered(role, parameter.value, self.inverse)
        gradient = parameter.gradient
        if gradient is not None and role == FACTOR:
            gradient = _factor_gradient(parameter.value, gradient, value, self.inverse)
        elif gradient is not None:
            gradient = reordered(role, gradient, self.inverse)
        return Parameter(parameter.constraint, value, gradient)


def in_plates(guide: Mapping[str, Site], model: Mapping[str, Site]) -> dict[str, Site]:
    """The guide with what it unpacks from a joint latent in the plates of the model's sites.

    Pyro's autoguides enter these plates, NumPyro's only give the sites their shapes.
    """
    if not any(AUTOGUIDE_LATENT.match(name) for name in guide):
        return dict(guide)
    declared = {
        name: dataclasses.replace(site, plates=model[name].plates)
        for name, site in guide.items()
        if site.family == "Delta"
        and name in model
        and site.batch_shape == model[name].batch_shape
        and not site.plates
    }
    return {**guide, **declared}


def joint_latents(guide: tuple[SiteMatch, ...]) -> dict[str, str]:
    """The joint latents of the first guide, and the second's names of each. guide: which sites are which."""
    pairs = [(m.first[0], m.second[0]) for m in guide]
    return {name: other for name, other in pairs if all(map(AUTOGUIDE_LATENT.match, (name, other)))}


def find_joint_orders(
    reference: Run, found: Run, guide: tuple[SiteMatch, ...], model: tuple[SiteMatch, ...]
) -> tuple[JointOrder, ...]:
    """How the numbers of each joint latent of two guides correspond; without those in which nothing moves.

    guide, model: which sites are which.
    """
    orders = [
        _joint_order(reference, found, joint, model) for joint in joint_latents(guide).items()
    ]
    return tuple(order for order in orders if order is not None)


def _joint_order(
    reference: Run, found: Run, joint: tuple[str, str], model: tuple[SiteMatch, ...]
) -> JointOrder | None:
    mine = _unpacked(reference, joint[0], {m.first[0]: m.second for m in model})
    theirs = _unpacked(found, joint[1], {m.second[0]: m.first for m in model})
    names = {name: other for m in model for name, other in _named_alike(m)}
    by_site = {m.first[0]: m for m in model if len(m.first) == len(m.second)}
    if not mine or {names.get(name) for name in mine} != theirs.keys():
        return None
    where = {}
    for name, (image, positions) in mine.items():
        match = by_site.get(name, SiteMatch((name,), (names[name],)))
        layout = layout_of(match, image, theirs[names[name]][0])
        if layout is None:
            return None
        where[names[name]] = layout.to_second(positions.reshape(1, *layout.first)).ravel()
    order = np.concatenate([where[name] for name in theirs])
    return None if (order == np.arange(order.size)).all() else JointOrder(*joint, order)


def _named_alike(match: SiteMatch) -> list[tuple[str, str]]:
    """First and second name; the steps of a stack have those of the other program's steps."""
    if len(match.first) == len(match.second):
        return list(zip(match.first, match.second, strict=True))
    steps = max(match.first, match.second, key=len)
    return list(zip(steps, steps, strict=True))


def _unpacked(
    run: Run, joint: str, others: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[Site, Array]]:
    """For every site unpacked from the joint latent: its image, and where its numbers are in the latent.

    These come right after it, until its numbers are used up: what follows is of the next guide of a list.
    Empty where they do not add up to the latent's size. others: the other program's names of each site;
    a site that is several there is taken step by step.
    """
    unpacked: dict[str, tuple[Site, Array]] = {}
    value, start = run.guide[joint].value, 0
    for name in names_unpacked(run.guide, joint):
        if name not in run.model:
            continue
        if value is not None and value.shape[-1] == start:
            break
        image = image_of(run.model[name])
        positions = start + np.arange(math.prod(image.batch_shape + image.event_shape))
        start += positions.size
        steps = others.get(name, ())
        parts = split(image, len(steps)) if len(steps) > 1 else None
        if parts is None:
            unpacked[name] = image, positions
        else:
            places = np.split(positions, len(steps))
            unpacked |= dict(zip(steps, zip(parts, places, strict=True), strict=True))
    return unpacked if value is not None and value.shape[-1] == start else {}


def image_of(site: Site) -> Site:
    """The site with the event shape of its values' unconstrained image."""
    event = site.event_shape
    if site.support == "simplex":
        event = (*event[:-1], event[-1] - 1)
    elif site.support in ("corr_cholesky", "corr_matrix"):
        event = (*event[:-2], event[-1] * (event[-1] - 1) // 2)
    elif site.support in ("lower_cholesky", "softplus_lower_cholesky", "positive_definite"):
        event = (*event[:-2], event[-1] * (event[-1] + 1) // 2)
    return dataclasses.replace(site, event_shape=event)


def joint_role(name: str, joint: str) -> str:
    """What a parameter is to the joint latent, "" where it is another guide's.

    >>> joint_role("auto_loc", "_auto_latent"), joint_role("AutoGuideList.1.loc", "_AutoGuideList.1_latent")
    ('loc', 'loc')
    >>> joint_role("AutoGuideList.0.loc", "_AutoGuideList.1_latent")
    ''
    """
    return role_in(name, guide_of(joint))


def reordered(role: str, values: Array, order: Array) -> Array:
    """Entries, rows or a Cholesky factor of the joint latent, in another order."""
    if role in ELEMENTWISE:
        return values[..., order]
    if role == ROWS:
        return values[..., order, :]
    if role == FACTOR:
        covariance = values @ np.swapaxes(values, -1, -2)
        return np.asarray(np.linalg.cholesky(covariance[..., order, :][..., order]))
    return values


# -- gradient of a Cholesky factor, in the coordinates L = diag(s) (I + Z), s = softplus(r) -------------


def _factor_gradient(theirs: Array, gradient: Array, mine: Array, inverse: Array) -> Array:
    """The gradient in the coordinates of `mine`, the factor of the reordered covariance of `theirs`."""
    covariance = _through_cholesky(theirs, _to_entries(theirs, gradient))
    covariance = covariance[inverse][:, inverse]
    return _to_coordinates(mine, np.tril(2 * covariance @ mine))


def _through_cholesky(factor: Array, gradient: Array) -> Array:
    """Gradient in a covariance from that in its Cholesky factor (Murray, 2016, arXiv:1602.07527)."""
    inner = np.tril(factor.T @ gradient)
    inner[np.diag_indices_from(inner)] /= 2
    inverse = np.linalg.inv(factor)
    outer = inverse.T @ inner @ inverse
    return np.asarray((outer + outer.T) / 2)


def _to_coordinates(factor: Array, gradient: Array) -> Array:
    """Below the diagonal the gradient in Z, on it that in r, from that in the entries of L."""
    scale = np.diagonal(factor)
    unit = factor / scale[:, None]
    slope = -np.expm1(-scale)  # of softplus, where it is `scale`
    return np.tril(gradient, -1) * scale[:, None] + np.diag((gradient * unit).sum(-1) * slope)


def _to_entries(factor: Array, gradient: Array) -> Array:
    """The inverse of `_to_coordinates`."""
    scale = np.diagonal(factor)
    unit = factor / scale[:, None]
    below = np.tril(gradient, -1) / scale[:, None]
    on = np.diagonal(gradient) / -np.expm1(-scale) - (below * np.tril(unit, -1)).sum(-1)
    return below + np.diag(on)
