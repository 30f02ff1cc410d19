"""Which parameter of one program is which of the other: by name, by the libraries' habits, by the user.

Frameworks name the same thing differently, and lay it out differently: torch's `Linear.weight` is
(out, in), flax's `Dense.kernel` is (in, out); NumPyro's autoguides call `x_auto_loc` what Pyro's call
`AutoNormal.locs.x`. What cannot be matched without help is named by the user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import and_, eq

import numpy as np

from twinplate.errors import InputError
from twinplate.records.record import Array, Parameter

Convert = Callable[[Array], Array]
Entry = str | tuple[str, Convert, Convert]  # a name, or (name, to_second, to_first)
Rename = Mapping[str, Entry]


def name_in(entry: Entry) -> str:
    """The second program's name in an entry of `rename`."""
    return entry if isinstance(entry, str) else entry[0]


def same(values: Array) -> Array:
    """The values as they are, where both programs have one layout."""
    return values


@dataclass(frozen=True)
class Match:
    """One parameter of both programs.

    first, second: its names.  to_second, to_first: convert values between the two layouts.
    how: by which habit the names were found to mean the same.
    """

    first: str
    second: str
    to_second: Convert = same
    to_first: Convert = same
    how: str = "equal names"


def match_parameters(
    first: Mapping[str, Parameter],
    second: Mapping[str, Parameter],
    rename: Rename,
    guides: Mapping[str, str] | None = None,
) -> list[Match]:
    """Which parameters of two programs are the same; one of a single program is in no match.

    guides: names of the first's automatic guides with a joint latent, and what the second calls each.

    Order of precedence: the user's `rename`, guides with a joint latent, equal names, the other
    autoguides' habits, the layers of a module.

    Raises InputError for entries of `rename` that name no parameter.
    """
    matches = [
        _renamed(name, entry, first, second) for name, entry in rename.items() if name in first
    ]
    names = {name: name_in(entry) for name, entry in rename.items()}
    modules = {name: other for name, other in names.items() if name in modules_of(first)}
    for pair in (
        partial(_joint_guides, guides or {}),
        partial(_equal, modules),
        partial(_autoguides, names),
        partial(_modules, modules),
    ):
        left = {m.first for m in matches}, {m.second for m in matches}
        rest = (
            {name: p for name, p in program.items() if name not in taken}
            for program, taken in zip((first, second), left, strict=True)
        )
        matches += pair(*rest)
    return matches


def _renamed(
    name: str,
    entry: Entry,
    first: Mapping[str, Parameter],
    second: Mapping[str, Parameter],
) -> Match:
    other = name_in(entry)
    if other not in second:
        raise InputError(
            f"rename says that parameter {name!r} is {other!r} in the second program, which has no "
            f"such parameter; it has {', '.join(second) or 'none'}"
        )
    if not isinstance(entry, str):
        return Match(name, *entry, how="rename")
    mine, theirs = _leaf(name, first[name]), _leaf(other, second[other])
    layouts = (same, same) if mine is None or theirs is None else _layouts(mine, theirs)
    return Match(name, other, *layouts, how="rename")


def _equal(
    modules: Mapping[str, str], first: Mapping[str, Parameter], second: Mapping[str, Parameter]
) -> list[Match]:
    """Parameters of one name, but for those of renamed modules (the first's names: the second's)."""

    def stays(name: str) -> bool:
        mine, theirs = _leaf(name, first[name]), _leaf(name, second[name])
        renamed = mine is not None and mine.module in modules
        return not renamed and (theirs is None or theirs.module not in modules.values())

    return [Match(name, name) for name in first if name in second and stays(name)]


# -- autoguides ---------------------------------------------------------------------------------------

# What an autoguide's parameter is, whichever library named it: (role, latent site or "").
AUTOGUIDE_NAMES = (
    (re.compile(r"^AutoDelta\.(?P<site>.+)$"), "loc"),
    (re.compile(r"^Auto\w+(\.\d+)*\.locs\.(?P<site>.+)$"), "loc"),
    (re.compile(r"^Auto\w+(\.\d+)*\.scales\.(?P<site>.+)$"), "scale"),
    (re.compile(r"^Auto\w+(\.\d+)*\.(?P<role>loc|scale|scale_tril|cov_factor)$"), ""),
    (re.compile(r"^AutoGuideList(\.\d+)+\.(?P<site>.+)$"), "loc"),  # an AutoDelta of a list
    (re.compile(r"^(?P<site>.+)_auto_(?P<role>loc|scale)$"), ""),
    (re.compile(r"^auto_(?P<role>loc|scale|scale_tril|cov_factor)$"), ""),
)

JOINT_ROLES = ("loc", "scale", "scale_tril", "cov_factor")


def autoguide_role(name: str) -> tuple[str, str] | None:
    """(role, site) of an autoguide's parameter, None for any other name."""
    for pattern, role in AUTOGUIDE_NAMES:
        found = pattern.match(name)
        if found:
            groups = found.groupdict()
            return groups.get("role", role) or role, groups.get("site", "")
    return None


def role_in(name: str, guide: str) -> str:
    """What a parameter is in the guide of this name, "" where it is none of its: "loc" of "auto_loc"."""
    rest = name.removeprefix(guide)
    return rest[1:] if rest != name and rest[:1] in ("_", ".") else ""


def _joint_guides(
    guides: Mapping[str, str], first: Mapping[str, Parameter], second: Mapping[str, Parameter]
) -> list[Match]:
    """Parameters with one role in the same guide."""
    return [
        Match(name, other, how="autoguide")
        for guide, twin in guides.items()
        for name in first
        for other in second
        if (role := role_in(name, guide)) in JOINT_ROLES and role_in(other, twin) == role
    ]


def of_another_site(name: str, site: str) -> str:
    """The name that an autoguide's parameter of one site would have for another."""
    for pattern, _ in AUTOGUIDE_NAMES:
        found = pattern.match(name)
        if found and "site" in pattern.groupindex:
            return name[: found.start("site")] + site + name[found.end("site") :]
    return name


def _autoguides(
    sites: Mapping[str, str], first: Mapping[str, Parameter], second: Mapping[str, Parameter]
) -> list[Match]:
    """Parameters with one role in one site's guide; `sites` has the second names of renamed sites."""
    roles = {autoguide_role(name): name for name in second}
    matches = []
    for name in first:
        role, site = autoguide_role(name) or ("", "")
        other = roles.get((role, sites.get(site, site))) if role else None
        if other is not None:
            matches.append(Match(name, other, how="autoguide"))
    return matches


# -- layers of a module -------------------------------------------------------------------------------

# "net$$$0.weight", "net$params/Dense_0/kernel"; of a PyroModule's own layers "hidden.weight", of a tree that
# is a parameter by any name "net/linear/w"
MODULE = re.compile(r"^(?P<module>.+?)(?P<mark>\$(?:\$\$|params/|params$)|[./])(?P<path>.*)$")
NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class _Leaf:
    name: str
    module: str
    layer: str
    kind: str  # "weight", "bias" or the last word of the name
    axes: tuple[int, ...]  # in the order of torch, which is (out, in, ...)
    stored: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in torch, where a bias is a vector: equinox gives that of a convolution further dims."""
        shape = tuple(self.stored[axis] for axis in self.axes)
        return shape[:1] if self.kind == "bias" and set(shape[1:]) == {1} else shape

    def to_torch(self, values: Array) -> Array:
        return values.transpose(self.axes).reshape(self.shape)

    def from_torch(self, values: Array) -> Array:
        moved = values.reshape([self.stored[axis] for axis in self.axes])
        return moved.transpose(np.argsort(self.axes))


def _layouts(mine: _Leaf, theirs: _Leaf) -> tuple[Convert, Convert]:
    """From one leaf's layout to the other's, and back."""
    if (mine.axes, mine.stored) == (theirs.axes, theirs.stored) or mine.shape != theirs.shape:
        return same, same
    return (
        lambda values: theirs.from_torch(mine.to_torch(values)),
        lambda values: mine.from_torch(theirs.to_torch(values)),
    )


KINDS = {
    **dict.fromkeys(("weight", "kernel", "scale", "embedding", "embeddings", "w"), "weight"),
    **dict.fromkeys(("b", "offset"), "bias"),
}


def _leaf(name: str, parameter: Parameter) -> _Leaf | None:
    found = MODULE.match(name)
    if found is None:
        return None
    path = re.split(r"[./]|\$\$\$", found["path"])
    shape = tuple(parameter.value.shape)
    word = path[-1] if not path[-1].isdigit() else _stax_word(path[-1], len(shape))
    words = {".": ("weight", "bias"), "/": ("bias", *KINDS)}.get(found["mark"])
    if words and (word not in words or not _is_learned(name, parameter)):
        return None
    axes = tuple(range(len(shape)))
    if word in ("kernel", "w"):  # (in, out), of a convolution (..., in, out)
        axes = (*reversed(axes[-2:]), *axes[:-2])
    kind = KINDS.get(word, word)
    return _Leaf(name, found["module"], "/".join(path[:-1]), kind, axes, shape)


def _is_learned(name: str, parameter: Parameter) -> bool:
    """Whether a name with dots or slashes alone may be one of a layer: no site's, no autoguide's."""
    return parameter.constraint != "unconstrained" and autoguide_role(name) is None


def _stax_word(number: str, dims: int) -> str:
    """What stax, which has no words, keeps at this place of a layer: Dense is a pair of weight and bias."""
    return {("0", 2): "w", ("1", 1): "b"}.get((number, dims), number)


def modules_of(parameters: Mapping[str, Parameter]) -> set[str]:
    """Names of the modules that have one of the parameters.

    >>> modules_of({name: Parameter("real", np.zeros(2)) for name in ("net$$$0.weight", "loc")})
    {'net'}
    """
    return {leaf.module for leaf in _leaves(parameters)}


def _leaves(parameters: Mapping[str, Parameter]) -> list[_Leaf]:
    return [leaf for name, p in parameters.items() if (leaf := _leaf(name, p))]


def _modules(
    names: Mapping[str, str], first: Mapping[str, Parameter], second: Mapping[str, Parameter]
) -> list[Match]:
    """Within modules of one name: by kind and shape, and in the order of the layers' numbers.

    names: the second's of modules that are renamed, by the first's.
    """
    mine = [replace(leaf, module=names.get(leaf.module, leaf.module)) for leaf in _leaves(first)]
    theirs = _leaves(second)
    mine = _inside(mine, theirs)
    theirs = _inside(theirs, mine)
    layers = _layers(mine, theirs)
    matches = []
    for leaf in mine:
        other = next(
            (
                t
                for t in theirs
                if (t.module, t.kind, t.shape) == (leaf.module, leaf.kind, leaf.shape)
                and t.layer == layers.get((leaf.module, leaf.layer))
            ),
            None,
        )
        if other is not None:
            how = "layers of a module, in order"
            matches.append(Match(leaf.name, other.name, *_layouts(leaf, other), how))
    return matches


def _inside(leaves: list[_Leaf], others: list[_Leaf]) -> list[_Leaf]:
    """Modules that the other program does not name, as layers of the one that only the other names.

    A PyroModule names each of its layers, and what is made one module in NumPyro has a name for all.
    """
    own, named = {leaf.module for leaf in leaves}, {leaf.module for leaf in others}
    if len(named - own) != 1:
        return leaves
    (whole,) = named - own
    return [
        leaf
        if leaf.module in named
        else replace(leaf, module=whole, layer=f"{leaf.module}/{leaf.layer}".rstrip("/"))
        for leaf in leaves
    ]


def _layers(mine: list[_Leaf], theirs: list[_Leaf]) -> dict[tuple[str, str], str]:
    """Layer of the second program for each (module, layer) of the first: equal contents, in order.

    Of the layers that are left, those that share something: one program may have left out the bias.
    """
    wanted, offered = _contents(mine), _contents(theirs)
    pairs: dict[tuple[str, str], str] = {}
    for alike in (eq, and_):
        for key in [key for key in wanted if key not in pairs]:
            for other in list(offered):
                if other[0] == key[0] and alike(offered[other], wanted[key]):
                    pairs[key] = other[1]
                    del offered[other]
                    break
    return pairs


def _contents(leaves: list[_Leaf]) -> dict[tuple[str, str], set[tuple[str, tuple[int, ...]]]]:
    layers: dict[tuple[str, str], set[tuple[str, tuple[int, ...]]]] = {}
    for leaf in sorted(leaves, key=lambda leaf: _natural(leaf.layer)):
        layers.setdefault((leaf.module, leaf.layer), set()).add((leaf.kind, leaf.shape))
    return layers


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Key that sorts layer10 after layer2."""
    return [
        (part.isdigit(), int(part) if part.isdigit() else 0, part) for part in NUMBER.split(text)
    ]
