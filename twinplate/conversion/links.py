"""Which parameters of two programs hold the same numbers, and where: the verifier's matching as plain data.

Where the numbers of a parameter lie in the other program is found by sending numbered entries through the
verifier's own translation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from twinplate.errors import InputError
from twinplate.records.record import Array, Parameter
from twinplate.verification.matching.autoguides import (
    merge_parameters,
    merge_values,
    split_values,
    triangles,
)
from twinplate.verification.matching.joint_latent import joint_role, reordered
from twinplate.verification.matching.parameters import Convert, Match
from twinplate.verification.matching.translation import Translation

Parameters = Mapping[str, Parameter]
Shape = tuple[int, ...]

ENTRIES = "entries"  # packing: `order` is of all entries, row by row
PACKINGS = (ENTRIES, "loc", "scale", "cov_factor", "scale_tril")


@dataclass(frozen=True)
class Link:
    """Parameters of two programs that hold the same numbers, by constrained values.

    first, second: names in each program. There are several where a scale and its unit triangle are one
        factor of the other program, or the steps of a series one stack.
    shapes: of the first's value and of the second's.
    axes: the first's dims in the order of the second's, which may have further ones of size 1.
    packing, order: number i along the dim that is packed is number order[i] of the first's. Packed are
        the entries of a joint guide's "loc" or "scale", the rows of its "cov_factor", rows and columns
        of the covariance of its "scale_tril", or all "entries", row by row.
    how: by which habit of the libraries the names were found to mean the same.
    functions: to the second and back, in place of axes, where `rename` computes.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    shapes: tuple[Shape, Shape]
    axes: tuple[int, ...] = ()
    packing: str = ""
    order: tuple[int, ...] = ()
    how: str = ""
    functions: tuple[Convert, Convert] | None = field(default=None, compare=False)

    @property
    def is_name_alone(self) -> bool:
        """Whether the numbers lie in both programs alike."""
        same = self.axes == tuple(range(len(self.axes))) and self.shapes[0] == self.shapes[1]
        return same and not self.packing and self.functions is None

    def to_second(
        self, values: Mapping[str, Array], first: Parameters, second: Parameters
    ) -> dict[str, Array]:
        """Values of the second program's parameters from the first's. first, second: what both have."""
        array = _joined(self.first, values, first)
        if self.functions is not None:
            return _parted(self.second, np.asarray(self.functions[0](array)), second)
        moved = array.transpose(self.axes).reshape(self.shapes[1])
        return _parted(self.second, self._packed(moved, np.array(self.order, int)), second)

    def to_first(
        self, values: Mapping[str, Array], first: Parameters, second: Parameters
    ) -> dict[str, Array]:
        """The inverse of `to_second`."""
        array = _joined(self.second, values, second)
        if self.functions is not None:
            return _parted(self.first, np.asarray(self.functions[1](array)), first)
        packed = self._packed(array, np.argsort(self.order))
        moved = packed.reshape([self.shapes[0][axis] for axis in self.axes])
        return _parted(self.first, moved.transpose(np.argsort(self.axes).tolist()), first)

    def _packed(self, values: Array, order: Array) -> Array:
        if self.packing == ENTRIES:
            return values.ravel()[order].reshape(values.shape)
        return reordered(self.packing, values, order) if self.packing else values


def links_of(translation: Translation, first: Parameters, second: Parameters) -> tuple[Link, ...]:
    """The links that the verifier's translation makes, in the first's order. first, second: what both have.

    Raises InputError for a parameter that the other program has not, or has in another shape.
    """
    mine, theirs = merge_parameters(first), merge_parameters(second)
    computed = [m for m in translation.parameters if not _only_moves(m, mine[m.first].value.shape)]
    numbered, start = {}, 0
    for name, parameter in mine.items():
        numbered[name] = (start + np.arange(parameter.value.size)).reshape(parameter.value.shape)
        start += parameter.value.size
    moved = translation.stacks.values_to_second(
        {
            m.second: m.to_second(numbered[m.first])
            for m in translation.parameters
            if m not in computed
        }
    )
    hows = {m.first: m.how for m in translation.parameters}
    links = [_computed(match, mine, theirs, first, second) for match in computed]
    for sources, targets in _groups(numbered, moved).items():
        places = _stacked([moved[name] for name in targets])
        _check_shapes(sources, targets, places, theirs)
        whole = _stacked([numbered[name] for name in sources])
        axes, order = _axes(whole, places)
        packing = ENTRIES if order else ""
        for joint in translation.joint_orders:
            if (role := joint_role(targets[0], joint.second)) in PACKINGS:
                packing, order = role, tuple(joint.order.tolist())
        names, shapes = (_raw(sources, first), _raw(targets, second)), (whole.shape, places.shape)
        links.append(Link(*names, shapes, axes, packing, order, hows[sources[0]]))
    position = {name: i for i, name in enumerate(first)}
    return tuple(sorted(links, key=lambda link: position[link.first[0]]))


def _only_moves(match: Match, shape: Shape) -> bool:
    """Whether a value's numbers are only moved, not changed."""
    size = int(np.prod(shape, dtype=int))
    moved = np.asarray(match.to_second(np.arange(size).reshape(shape)))
    return moved.size == size and bool((np.sort(moved, axis=None) == np.arange(size)).all())


def _computed(
    match: Match, mine: Parameters, theirs: Parameters, first: Parameters, second: Parameters
) -> Link:
    shapes = mine[match.first].value.shape, theirs[match.second].value.shape
    names = _raw((match.first,), first), _raw((match.second,), second)
    return Link(*names, shapes, how=match.how, functions=(match.to_second, match.to_first))


def _groups(
    numbered: Mapping[str, Array], moved: Mapping[str, Array]
) -> dict[tuple[str, ...], list[str]]:
    """Names of the second program by the names of the first whose numbers they hold, as in `numbered`."""
    ends = np.cumsum([values.size for values in numbered.values()])
    names = list(numbered)
    groups: dict[tuple[str, ...], list[str]] = {}
    for target, places in moved.items():
        owners = np.searchsorted(ends, places.ravel(), side="right")
        sources = tuple(names[i] for i in dict.fromkeys(owners.tolist()))
        if sources:
            groups.setdefault(sources, []).append(target)
    return groups


def _check_shapes(
    sources: tuple[str, ...], targets: list[str], places: Array, theirs: Parameters
) -> None:
    if any(target not in theirs for target in targets):
        return
    shape = _stacked([theirs[target].value for target in targets]).shape
    if places.shape != shape:
        raise InputError(
            f"parameter {sources[0]!r} of the first program is {targets[0]!r} of the second, laid out there "
            f"as {places.shape}, but that has shape {shape}; expected two programs that verify finds the same"
        )


def _axes(numbered: Array, places: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The order of dims that takes one array to the other, and if none does, the order of all entries."""
    dims = numbered.ndim
    for axes in itertools.permutations(range(dims)) if dims <= 6 else ():
        if np.array_equal(numbered.transpose(axes).ravel(), places.ravel()):
            return axes, ()
    found = np.argsort(numbered, axis=None)
    order = found[np.searchsorted(numbered.ravel(), places.ravel(), sorter=found)]
    return tuple(range(dims)), tuple(order.tolist())


def _stacked(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.stack(arrays)


def _raw(names: tuple[str, ...] | list[str], parameters: Parameters) -> tuple[str, ...]:
    """The names as the program has them: of a merged factor, its scale and its unit triangle."""
    scales = {triangle: scale for scale, triangle in triangles(parameters)}
    return tuple(n for name in names for n in ([scales[name], name] if name in scales else [name]))


def _joined(names: tuple[str, ...], values: Mapping[str, Array], parameters: Parameters) -> Array:
    own = merge_values({n: values[n] for n in names}, {n: parameters[n] for n in names})
    return _stacked(list(own.values()))


def _parted(names: tuple[str, ...], array: Array, parameters: Parameters) -> dict[str, Array]:
    own = {name: parameters[name] for name in names}
    merged = list(merge_parameters(own))
    parts = [array] if len(merged) == 1 else list(array)
    return split_values(dict(zip(merged, parts, strict=True)), own)


def whole_shape(names: tuple[str, ...], parameters: Parameters) -> Shape:
    """The shape of what these parameters of a program are together."""
    values = {name: parameters[name].value for name in names}
    if len({x.shape for x in values.values()}) > 1 and not triangles(
        {n: parameters[n] for n in names}
    ):
        raise InputError(f"{', '.join(names)} have other shapes; expected the steps of one series")
    return _joined(names, values, parameters).shape
