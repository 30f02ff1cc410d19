"""What a guide must know of its model: the plate of items, the latent sites in it, and those outside.

Each framework reads its traces into `LatentSite`s; what follows from them, and what is refused, is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinplate.errors import InputError
from twinplate.guides.layout import ExtraPlate, JointLayout, Shape, joint_layout


@dataclass(frozen=True)
class Frame:
    """A plate of the model: `size` items of `full_size` in this run, at `dim`."""

    name: str
    dim: int
    size: int
    full_size: int

    @property
    def is_subsampled(self) -> bool:
        """Whether the run has not all of its items."""
        return self.size != self.full_size


@dataclass(frozen=True)
class LatentSite:
    """A latent site as a run of the model showed it.

    image: shape of an event's unconstrained image, None where there is no bijection to the support.
    support: in words.  masked: its density is left out of the model for some of its entries.
    partly_observed: or may be, since their values are known, by `obs_mask`.
    """

    name: str
    frames: tuple[Frame, ...]
    batch_shape: Shape
    event_shape: Shape
    image: Shape | None
    support: str
    discrete: bool = False
    enumerated: bool = False
    masked: bool = False
    partly_observed: bool = False


@dataclass(frozen=True)
class ModelStructure:
    """The plate of items, its latent sites in the model's order, and what is left to other guides.

    frames: all plates around latent sites, by name.  rest: continuous sites outside of the plate of items.
    enumerated: discrete sites, which the loss sums out.
    """

    items: Frame
    local: tuple[LatentSite, ...]
    rest: tuple[str, ...]
    enumerated: tuple[str, ...]
    frames: Mapping[str, Frame]

    @property
    def layout(self) -> JointLayout:
        """Where the numbers of each local site stand in the joint vector."""
        return joint_layout({s.name: (self.extra_plates(s), s.image or ()) for s in self.local})

    @property
    def partly_observed(self) -> tuple[str, ...]:
        """The local sites of which some entries are known."""
        return tuple(site.name for site in self.local if site.partly_observed)

    def extra_plates(self, site: LatentSite) -> tuple[ExtraPlate, ...]:
        """The plates around a local site inside of that of items, in the order of their names."""
        frames = sorted(site.frames, key=lambda f: f.name)
        return tuple(ExtraPlate(f.name, f.size, f.dim) for f in frames if f.name != self.items.name)


def read_structure(
    sites: Sequence[LatentSite], frames: Mapping[str, Frame], plate: str
) -> ModelStructure:
    """The structure of a model by its latent sites, in order, and all of its plates, by name.

    plate: the name of the plate of items. Raises InputError where the guide cannot be right.
    """
    if plate not in frames:
        there = ", ".join(map(repr, frames)) or "none"
        raise InputError(f"the model has no plate {plate!r} around a site; it has {there}")
    enumerated = tuple(s.name for s in sites if s.discrete and s.enumerated)
    continuous = [s for s in sites if s.name not in enumerated]
    local = tuple(s for s in continuous if any(f.name == plate for f in s.frames))
    for site in local:
        _check(site, plate)
    rest = tuple(s.name for s in continuous if s not in local)
    if not local:
        outside = f"; outside of it: {', '.join(rest)}" if rest else ""
        raise InputError(f"no continuous latent site of the model is in plate {plate!r}{outside}")
    around = {f.name: f for s in continuous for f in s.frames}
    return ModelStructure(frames[plate], local, rest, enumerated, around)


def _check(site: LatentSite, plate: str) -> None:
    if site.discrete:
        raise InputError(
            f"site {site.name!r} is discrete, which no normal is a guide of; sum it out: mark it "
            'infer={"enumerate": "parallel"} in the model and use TraceEnum_ELBO'
        )
    if site.image is None:
        raise InputError(
            f"site {site.name!r} has support {site.support}, to which there is no bijection; sample it "
            "from a distribution over another support and compute the value from it"
        )
    if site.masked:
        raise InputError(
            f"site {site.name!r} is masked: where the model leaves its density out, that of the guide has no "
            "bound. Mask the likelihood alone; for entries whose values are known, give them by obs= and "
            "obs_mask="
        )
    _check_plates(site, plate)


def _check_plates(site: LatentSite, plate: str) -> None:
    dims = {f.dim for f in site.frames}
    free = [
        d for d in range(-len(site.batch_shape), 0) if d not in dims and site.batch_shape[d] > 1
    ]
    if free:
        raise InputError(
            f"site {site.name!r} has batch shape {site.batch_shape}, and no plate around it is at "
            f"dim={free[0]}; put it in a plate, or declare the dim dependent with .to_event()"
        )
    for frame in site.frames:
        if frame.is_subsampled and frame.name != plate:
            raise InputError(
                f"site {site.name!r} is in plate {frame.name!r}, subsampled to {frame.size} of "
                f"{frame.full_size}, inside of {plate!r}: the joint vector has a place for every one; take "
                "the plate whole, or name it as the plate of items"
            )


def shared_plates(stacks: Sequence[Sequence[Frame]], plate: str) -> tuple[str, ...]:
    """Plates of more than one, other than `plate`, that are in all of the stacks of a model's sites."""
    common = set.intersection(*(set(stack) for stack in stacks)) if stacks else set()
    return tuple(sorted(f.name for f in common if f.name != plate and f.size > 1))


def divided_bound(plate: str, shared: Sequence[str]) -> str:
    """RenyiELBO, where an item of the model is no single term of its bound."""
    return (
        f"RenyiELBO takes its bound apart by plates that all sites of the model are in: {plate!r} and "
        f"{', '.join(map(repr, shared))}. The guide draws the numbers of an item jointly, and their density "
        "would be subtracted once for each entry of the latter, in silence; declare that dim dependent in "
        "the model, by .to_event(1) instead of the plate, or use Trace_ELBO"
    )


def check_constant(first: ModelStructure, second: ModelStructure) -> None:
    """Raise InputError if two runs of a model on the same arguments have not the same structure."""
    runs = [{s.name: s for s in found.local} for found in (first, second)]
    for name in {**runs[0], **runs[1]}:
        sites = [run.get(name) for run in runs]
        if sites[0] is None or sites[1] is None:
            raise InputError(
                f"site {name!r} is in some runs of the model only; a guide needs the same sites in all of "
                "them"
            )
        if sites[0].support != sites[1].support:
            raise InputError(
                f"the support of site {name!r} depends on other sites: {sites[0].support} in one run of the "
                f"model, {sites[1].support} in another; sample it from a fixed support and scale the value"
            )
        if sites[0] != sites[1]:
            raise InputError(
                f"site {name!r} changes its shape or its plates from run to run of the model; a guide needs "
                "the same in all of them"
            )
    if first.rest != second.rest:
        changed = sorted({*first.rest} ^ {*second.rest})
        raise InputError(
            f"sites {', '.join(map(repr, changed))} are in some runs of the model only; a guide needs the "
            "same sites in all of them"
        )


def not_yet_run(sites: tuple[str, ...]) -> str:
    """A guide that is asked for sites outside of the plate, whose own guide its first run makes."""
    return (
        f"this guide, or this copy of it, has not run yet and has no guide of {sites}, outside of the plate "
        "of items; call it once with the model's arguments, as SVI does at its first step"
    )
