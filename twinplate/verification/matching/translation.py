"""Between the names and layouts of two programs, so that one can be recorded like the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from twinplate.errors import InputError
from twinplate.records.record import Array, Given, Parameter, Plate, Run, Site
from twinplate.verification.matching.autoguides import (
    merge_parameters,
    merge_sites,
    split_draws,
    split_values,
)
from twinplate.verification.matching.joint_latent import (
    JointOrder,
    find_joint_orders,
    image_of,
    in_plates,
    joint_latents,
)
from twinplate.verification.matching.moved_sites import drawn, image_sites, renamed_sites
from twinplate.verification.matching.parameters import (
    Match,
    Rename,
    autoguide_role,
    match_parameters,
    modules_of,
    name_in,
)
from twinplate.verification.matching.site_layouts import layout_of
from twinplate.verification.matching.sites import SiteMatch, guide_of, match_sites
from twinplate.verification.matching.time_series import Stacks, find_stacks


@dataclass(frozen=True)
class Translation:
    """Translates both ways: what this program is given, from the first one's names and layouts; what it
    showed, back to them.

    reference, found: a run of the first program (None where there is no other) and one of this program.
    parameters, guide, model: which parameters and sites of the two are the same.
    joint_orders: how the joint latents of their guides correspond, those in which something moves.
    stacks: how parameters of time series correspond.
    """

    reference: Run | None = None
    found: Run = field(default_factory=Run)
    parameters: tuple[Match, ...] = ()
    guide: tuple[SiteMatch, ...] = ()
    model: tuple[SiteMatch, ...] = ()
    joint_orders: tuple[JointOrder, ...] = ()
    stacks: Stacks = field(default_factory=Stacks)

    @property
    def names(self) -> dict[str, str]:
        """The first program's name → this program's, where the two differ."""
        names = {m.first: self.stacks.own_name(m.second) for m in self.parameters}
        for match in (*self.guide, *self.model):
            names |= dict.fromkeys(match.first, match.second[0])
        return {first: second for first, second in names.items() if first != second}

    def own(self, given: Given) -> Given:
        """What is given, in this program's names and layouts."""
        found = self.found
        if self.reference is None:
            return dataclasses.replace(
                given, parameters=split_values(given.parameters, found.parameters)
            )
        matched = {
            m.second: m.to_second(given.parameters[m.first])
            for m in self.parameters
            if m.first in given.parameters
        }
        matched = self.stacks.values_to_second(matched)
        for joint in self.joint_orders:
            matched = joint.values_to_second(matched)
        parameters = split_values(matched, found.parameters)
        for name, p in found.parameters.items():
            if p.constraint != "unconstrained" and (
                name not in parameters or parameters[name].shape != p.value.shape
            ):
                parameters[name] = p.value  # of another shape: left to the comparison
        alike = {name: given.draws[name] for name in found.guide if name in given.draws}
        values = alike | self._draws(given.draws)
        for joint in self.joint_orders:
            values = joint.draws_to_second(values)
        draws = split_draws(values, found.guide, found.model)
        return Given(draws, self._indices(given.indices), parameters)

    def _draws(self, draws: Mapping[str, Array]) -> dict[str, Array]:
        own: dict[str, Array] = {}
        for which in ("model", "guide"):
            mine, theirs = getattr(self.reference, which), getattr(self.found, which)
            for match in getattr(self, which):
                own |= drawn(match, mine, theirs, draws)
        return own

    def _indices(self, indices: Mapping[str, Array]) -> dict[str, Array]:
        """Indices of each plate of this program: its namesake's, or those of the only plate of its sizes."""
        mine, theirs = plates_of(self.reference), plates_of(self.found)
        own = {}
        for name, plate in theirs.items():
            sizes = (plate.size, plate.subsample_size)
            alike = [n for n, p in mine.items() if (p.size, p.subsample_size) == sizes]
            source = name if name in indices or len(alike) != 1 else alike[0]
            if source in indices:
                own[name] = indices[source]
        return own

    def translated(self, run: Run) -> Run:
        """What this program showed, in the first one's names and layouts."""
        guide = in_plates(merge_sites(run.guide), run.model)
        run = dataclasses.replace(run, guide=guide, parameters=merge_parameters(run.parameters))
        if self.reference is None:
            return run
        run = dataclasses.replace(
            run,
            guide=renamed_sites(self.guide, self.reference.guide, run.guide),
            model=renamed_sites(self.model, self.reference.model, run.model),
            parameters=self._parameters(self.stacks.to_first(run.parameters)),
        )
        for joint in self.joint_orders:
            run = joint.run_to_first(run)
        return run

    def _parameters(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        by_second = {m.second: m for m in self.parameters}
        images = {n: p for n, p in parameters.items() if p.constraint == "unconstrained"}
        renamed = self._images(images)
        for name, p in parameters.items():
            if name in images:
                continue
            match = by_second.get(name, Match(name, name))
            gradient = None if p.gradient is None else match.to_first(p.gradient)
            renamed[match.first] = Parameter(p.constraint, match.to_first(p.value), gradient)
        return renamed

    def _images(self, images: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """Unconstrained values of latent sites, and gradients, laid out as in the first program."""
        if self.reference is None or not images:
            return dict(images)
        mine = image_sites(self.reference.model, self.reference.parameters, "value")
        values, gradients = (
            renamed_sites(self.model, mine, image_sites(self.found.model, images, which))
            for which in ("value", "gradient")
        )
        return {
            name: Parameter("unconstrained", site.value, gradients[name].value)
            for name, site in values.items()
            if site.value is not None
        }


def make_translation(reference: Run | None, found: Run, rename: Rename | None) -> Translation:
    """The translation for a program that showed `found` to the one that showed `reference`, if any.

    Raises InputError for an entry of `rename` that names nothing.
    """
    if reference is None:
        return Translation(found=found)
    guide_sites = in_plates(merge_sites(found.guide), found.model)
    found = dataclasses.replace(found, guide=found.guide | guide_sites)
    rename = dict(rename or {})
    learned = {n: p for n, p in reference.parameters.items() if p.constraint != "unconstrained"}
    known = {*learned, *reference.guide, *reference.model, *plates_of(reference)}
    modules = modules_of(learned) - known
    known |= modules
    for name in rename:
        if name not in known and reference.failure is None:
            raise InputError(
                f"rename has {name!r}, which is no site, parameter or module of the first program; it has "
                f"{', '.join(sorted(known))}"
            )
    has = {*found.parameters, *found.guide, *found.model, *plates_of(found)}
    has |= modules_of(found.parameters)
    for name, entry in rename.items():
        second = name_in(entry)
        if name in modules and not isinstance(entry, str):
            raise InputError(
                f"rename has functions for {name!r}, which is a module; expected the name {second!r} alone, "
                f"and functions for those of its parameters that are laid out otherwise"
            )
        if second not in has and found.failure is None:
            raise InputError(
                f"rename says that {name!r} is {second!r} in the second program, which has no such site, "
                f"plate, parameter or module; it has {', '.join(sorted(has))}"
            )
    if found.failure is not None and not found.parameters:
        rename = {}
    guide = tuple(match_sites(reference.guide, guide_sites, rename))
    model = tuple(match_sites(reference.model, found.model, rename))
    stacks = find_stacks(model, found.parameters)
    own = stacks.to_first(merge_parameters(found.parameters))
    guides = {guide_of(name): guide_of(other) for name, other in joint_latents(guide).items()}
    parameters = match_parameters(learned, own, rename, guides)
    joint_orders = find_joint_orders(reference, found, guide, model)
    by_site = {m.first[0]: m for m in model}
    own_layouts = tuple(_of_a_site(m, by_site, reference.model, found.model) for m in parameters)
    return Translation(reference, found, own_layouts, guide, model, joint_orders, stacks)


def _of_a_site(
    match: Match,
    sites: Mapping[str, SiteMatch],
    mine: Mapping[str, Site],
    theirs: Mapping[str, Site],
) -> Match:
    """An autoguide's parameter of one site is laid out as the site is."""
    roles = autoguide_role(match.first), autoguide_role(match.second)
    if match.how == "rename" or None in roles:
        return match
    first, second = (role[1] if role else "" for role in roles)
    if first not in mine or second not in theirs:
        return match
    site = sites.get(first, SiteMatch((first,), (second,)))
    layout = layout_of(site, image_of(mine[first]), image_of(theirs[second]))
    if layout is None or layout.is_identity:
        return match
    return dataclasses.replace(
        match,
        to_second=lambda values: layout.to_second(values[None])[0],
        to_first=lambda values: layout.to_first(values[None])[0],
    )


def plates_of(run: Run | None) -> dict[str, Plate]:
    """All plates of a run by name."""
    if run is None:
        return {}
    sites = (*run.guide.values(), *run.model.values())
    return {plate.name: plate for site in sites for plate in site.plates}
