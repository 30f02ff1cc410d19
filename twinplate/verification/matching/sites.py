"""Which site of one program is which of the other, and how their dims correspond.

A dim is known by its plate; what is no plate's keeps its order. So `a` of shape (K, B) in plates
`components` and `mini_batch` is the `a` of batch shape (B,) and event shape (K,) in `mini_batch`
alone: one transposed. A loop's `z_0 … z_T` is the stacked `z` of a scan.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from twinplate.records.record import Array, Site
from twinplate.verification.matching.parameters import Convert, Entry, name_in


@dataclass(frozen=True)
class Layout:
    """How the dims of a site's value correspond in two programs. Shapes are of one particle.

    first, second: shape of the value in each program.
    kept: the second's shape without batch dims of size 1 that no plate claims; the first's are dropped too.
    axes: dim i of what is left of the first is dim `axes[i]` of `kept`.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    kept: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self.first == self.second and self.axes == tuple(range(len(self.axes)))

    def to_first(self, values: Array) -> Array:
        """(P, *second) to (P, *first)."""
        kept = values.reshape(len(values), *self.kept)
        return kept.transpose(0, *(i + 1 for i in self.axes)).reshape(len(values), *self.first)

    def to_second(self, values: Array) -> Array:
        """(P, *first) to (P, *second)."""
        moved = values.reshape(len(values), *(self.kept[i] for i in self.axes))
        inverse = np.argsort(np.asarray(self.axes, dtype=int))
        return moved.transpose(0, *(i + 1 for i in inverse)).reshape(len(values), *self.second)


@dataclass(frozen=True)
class Dim:
    """One dim of a site's value: the plate it belongs to ("" if none), its size, batch or event."""

    plate: str
    size: int
    is_batch: bool


def dims(site: Site) -> list[Dim]:
    """Dims of a value from the left, without batch dims of size 1 that no plate claims."""
    batch = [d for d, kept in zip(_batch_dims(site), kept_batch_dims(site), strict=True) if kept]
    return batch + [Dim("", size, False) for size in site.event_shape]


def kept_batch_dims(site: Site) -> list[bool]:
    """Whether each batch dim counts: one of size 1 does only where a plate claims it."""
    return [bool(d.plate) or d.size != 1 for d in _batch_dims(site)]


def _batch_dims(site: Site) -> list[Dim]:
    plates = {plate.dim: plate.name for plate in site.plates}
    depth = len(site.batch_shape)
    return [Dim(plates.get(i - depth, ""), size, True) for i, size in enumerate(site.batch_shape)]


def align(first: Site, second: Site) -> Layout | None:
    """The layout between the values of two sites, None where their dims do not correspond."""
    mine, theirs = dims(first), dims(second)
    shared = {d.plate for d in mine} & {d.plate for d in theirs} - {""}
    rest = iter([i for i, d in enumerate(theirs) if d.plate not in shared])
    axes = []
    for d in mine:
        if d.plate in shared:
            axes.append(next(i for i, other in enumerate(theirs) if other.plate == d.plate))
        else:
            axes.append(next(rest, -1))
    if len(mine) != len(theirs) or any(
        i < 0 or theirs[i].size != d.size for i, d in zip(axes, mine, strict=True)
    ):
        return None
    return Layout(
        first.batch_shape + first.event_shape,
        second.batch_shape + second.event_shape,
        tuple(d.size for d in theirs),
        tuple(axes),
    )


# -- time series --------------------------------------------------------------------------------------

STEP = re.compile(r"^(?P<base>.*?)_?(?P<step>\d+)$")


def series(names: Iterable[str], base: str) -> list[str]:
    """The names among `names` that are `base` with a number, in the order of the numbers."""
    found = [
        (int(m["step"]), name) for name in names if (m := STEP.match(name)) and m["base"] == base
    ]
    return [name for _, name in sorted(found)]


def split(site: Site, count: int) -> list[Site] | None:
    """The steps of a stacked site, None unless its first batch dim is `count` steps."""
    if not site.batch_shape or site.batch_shape[0] != count:
        return None

    def step(values: Array, t: int) -> Array:
        return values if values.ndim < 2 or values.shape[1] != count else values[:, t]

    return [
        dataclasses.replace(
            site,
            batch_shape=site.batch_shape[1:],
            value=None if site.value is None else step(site.value, t),
            log_prob=None if site.log_prob is None else step(site.log_prob, t),
            mask=None if site.mask is None else step(site.mask, t),
            scale=step(site.scale, t) if isinstance(site.scale, np.ndarray) else site.scale,
            arguments={name: step(v, t) for name, v in site.arguments.items()},
        )
        for t in range(count)
    ]


def stack(sites: list[Site]) -> Site:
    """One site of several steps, the first batch dim numbering them: the inverse of `split`."""
    first = sites[0]

    def stacked(values: list[Array | None]) -> Array | None:
        known = [v for v in values if v is not None]
        return np.stack(known, axis=1) if len(known) == len(values) else None

    shared = set.intersection(*(set(site.arguments) for site in sites))
    alike = [
        name for name in sorted(shared) if len({site.arguments[name].shape for site in sites}) == 1
    ]
    return dataclasses.replace(
        first,
        batch_shape=(len(sites), *first.batch_shape),
        value=stacked([site.value for site in sites]),
        log_prob=stacked([site.log_prob for site in sites]),
        mask=stacked([site.mask for site in sites]),
        scale=_stacked_scales(sites),
        arguments={name: np.stack([s.arguments[name] for s in sites], axis=1) for name in alike},
    )


def _stacked_scales(sites: list[Site]) -> float | Array:
    """One number where all steps have the same, otherwise (P, steps, *batch_shape)."""
    scales = [site.scale for site in sites]
    if all(isinstance(scale, float) and scale == scales[0] for scale in scales):
        return scales[0]
    count = next((len(site.value) for site in sites if site.value is not None), 1)
    return np.stack([np.broadcast_to(s.scale, (count, *s.batch_shape)) for s in sites], axis=1)


# -- names --------------------------------------------------------------------------------------------

# The joint latent of an automatic guide: Pyro calls the guide by its class, its attribute or its place in a
# list ("_AutoGuideList.1_latent"), NumPyro by its prefix ("_auto_latent").
AUTOGUIDE_LATENT = re.compile(r"^_(?P<guide>.+)_latent$")


@dataclass(frozen=True)
class SiteMatch:
    """One site by its names in both programs; a series has a name for each step, its stack has one.

    convert: the user's (to_second, to_first) where the layouts of its value differ.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    convert: tuple[Convert, Convert] | None = None


def match_sites(
    first: Mapping[str, Site], second: Mapping[str, Site], rename: Mapping[str, Entry]
) -> list[SiteMatch]:
    """Which sites of two models (or guides) are the same; a site of one program alone is in no match."""
    names = {name: name_in(rename.get(name, name)) for name in first}
    pairs = {name: other for name, other in names.items() if other in second}
    rest = [name for name in first if name not in pairs]
    others = [name for name in second if name not in pairs.values()]
    pairs |= _joint_latents(
        {name: names_unpacked(first, name) for name in rest if _is_joint_latent(first, name)},
        {name: names_unpacked(second, name) for name in others if _is_joint_latent(second, name)},
        names,
    )
    matches = [
        SiteMatch((name,), (other,), None if isinstance(entry, str) else entry[1:])
        for name, other in pairs.items()
        for entry in [rename.get(name, name)]
    ]
    rest = [name for name in first if name not in pairs]
    others = [name for name in second if name not in pairs.values()]
    for base in others:
        steps = series(rest, base)
        if len(steps) > 1 and split(second[base], len(steps)):
            matches.append(SiteMatch(tuple(steps), (base,)))
    for base in rest:
        steps = series(others, base)
        if len(steps) > 1 and split(first[base], len(steps)):
            matches.append(SiteMatch((base,), tuple(steps)))
    return matches


def _is_joint_latent(sites: Mapping[str, Site], name: str) -> bool:
    return sites[name].kind == "auxiliary" and AUTOGUIDE_LATENT.match(name) is not None


def names_unpacked(sites: Mapping[str, Site], joint: str) -> list[str]:
    """Sites that may be unpacked from a joint latent: the points that come right after it."""
    names = list(sites)
    later = names[names.index(joint) + 1 :]
    return list(takewhile(lambda name: sites[name].family == "Delta", later))


def guide_of(joint: str) -> str:
    """How the guide with this joint latent is called, with which the names of its parameters begin."""
    found = AUTOGUIDE_LATENT.match(joint)
    return found["guide"] if found else ""


def _joint_latents(
    first: Mapping[str, list[str]], second: Mapping[str, list[str]], names: Mapping[str, str]
) -> dict[str, str]:
    """Joint latents of the same sites, and where none is, in their order.

    names: of the first's sites in the second program.
    """
    pairs: dict[str, str] = {}
    for name, unpacked in first.items():
        own = {names[site] for site in unpacked}
        left = [other for other in second if other not in pairs.values()]
        if left:
            pairs[name] = max(left, key=lambda other: len(own.intersection(second[other])))
    return pairs
