"""Where the numbers of an item's latent sites stand in the one vector that they are drawn with.

Sites stand side by side in the order of their names, so that a model with its sites in another order has
the same vector. The numbers of a site are those of its unconstrained image, row by row: its extra plates
in the order given, then the dims of the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinplate.errors import InputError
from twinplate.programs.triangle import packed_size

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ExtraPlate:
    """A plate around a site inside of the plate of items: its name, its size and its dim, -1 or less."""

    name: str
    size: int
    dim: int


@dataclass(frozen=True)
class SiteLayout:
    """One site: its extra plates, the shape of its unconstrained image, and where its numbers start."""

    name: str
    plates: tuple[ExtraPlate, ...]
    image: Shape
    start: int = 0

    @property
    def size(self) -> int:
        """How many numbers of the vector are this site's."""
        return math.prod(p.size for p in self.plates) * math.prod(self.image)

    @property
    def slice(self) -> slice:
        """Where they are."""
        return slice(self.start, self.start + self.size)

    def unpacking(self, batch_shape: Sequence[int]) -> tuple[Shape, tuple[int, ...]]:
        """How (*batch_shape, size) numbers take their places in the plates: a shape, then an order of dims.

        The size of an extra plate must be 1, or missing, in `batch_shape`. Raises InputError where it is not.
        """
        missing = max([0, *(-p.dim - len(batch_shape) for p in self.plates)])
        batch = [1] * missing + list(batch_shape)
        places = {len(batch) + p.dim: i for i, p in enumerate(self.plates)}
        for place, i in places.items():
            if batch[place] != 1:
                plate = self.plates[i]
                raise InputError(
                    f"plate {plate.name!r} of site {self.name!r} is at dim={plate.dim}, where the joint "
                    f"sample of batch shape {tuple(batch_shape)} has {batch[place]}; give the plate a dim "
                    "that no plate around joint_sample has"
                )
        kept = [place for place in range(len(batch)) if place not in places]
        order = [len(kept) + places[j] if j in places else kept.index(j) for j in range(len(batch))]
        ends = range(len(batch), len(batch) + len(self.image))
        sizes = (p.size for p in self.plates)
        return (*(batch[j] for j in kept), *sizes, *self.image), (*order, *ends)

    def packing(
        self, shape: Sequence[int], batch_dims: int
    ) -> tuple[Shape, tuple[int, ...], Shape]:
        """How an array of `shape`, an entry for each one in the plates, gets an entry for each number.

        What to broadcast it to, an order of dims, and then the shape (*batch, entries, 1), batch as the joint
        sample has it, `batch_dims` or more. The other way round than `unpacking`, without the image.
        """
        dims = max(len(shape), batch_dims, *(-p.dim for p in self.plates), 0)
        wide = [1] * (dims - len(shape)) + list(shape)
        batch = list(wide)
        places = [dims + p.dim for p in self.plates]
        for place, plate in zip(places, self.plates, strict=True):
            wide[place], batch[place] = plate.size, 1
        while len(batch) > batch_dims and batch[0] == 1:
            batch.pop(0)
        entries = math.prod(p.size for p in self.plates)
        kept = [place for place in range(dims) if place not in places]
        return tuple(wide), (*kept, *places), (*batch, entries, 1)

    def formula(self) -> str:
        """The size in words: 3 (plate components) × 2 = 6."""
        parts = [f"{p.size} (plate {p.name})" for p in self.plates] + [str(n) for n in self.image]
        product = " × ".join(parts or ["1"])
        return product if product == str(self.size) else f"{product} = {self.size}"


@dataclass(frozen=True)
class JointLayout:
    """All sites of an item, by name, in alphabetical order.

    >>> layout = joint_layout({"b": ((), (2,)), "a": ((ExtraPlate("components", 3, -2),), ())})
    >>> layout.size, layout["a"].slice, layout["b"].slice
    (5, slice(0, 3, None), slice(3, 5, None))
    >>> layout.within_sites().tolist()  # the entries (1, 0), (2, 0), (2, 1), … of the triangle
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """

    sites: tuple[SiteLayout, ...]

    @property
    def size(self) -> int:
        """J, the length of the vector."""
        return sum(site.size for site in self.sites)

    def __getitem__(self, name: str) -> SiteLayout:
        return next(site for site in self.sites if site.name == name)

    def within_sites(self) -> npt.NDArray[np.float64]:
        """(J (J - 1) / 2,): 1 where an entry of the packed triangle joins numbers of one site, 0 elsewhere.

        A packed factor times this has a covariance of one block a site.
        """
        owner = np.repeat(np.arange(len(self.sites)), [site.size for site in self.sites])
        rows, columns = np.tril_indices(self.size, -1)
        assert len(rows) == packed_size(self.size)
        return (owner[rows] == owner[columns]).astype(np.float64)

    def formula(self) -> str:
        """The length in words: a: 3 (plate components) = 3, b: 2; in all 5."""
        return ", ".join(f"{s.name}: {s.formula()}" for s in self.sites) + f"; in all {self.size}"


def joint_layout(sites: Mapping[str, tuple[tuple[ExtraPlate, ...], Shape]]) -> JointLayout:
    """The layout of sites by name, each with its extra plates and the shape of its unconstrained image.

    Raises InputError for no sites, and for two plates of a site at one dim.
    """
    if not sites:
        raise InputError("there is no site to sample jointly; give one or more, {name: Local(...)}")
    placed, start = [], 0
    for name in sorted(sites):
        plates, image = sites[name]
        _check_plates(name, plates)
        placed.append(SiteLayout(name, plates, image, start))
        start += placed[-1].size
    return JointLayout(tuple(placed))


def _check_plates(name: str, plates: tuple[ExtraPlate, ...]) -> None:
    for i, plate in enumerate(plates):
        other = next((p for p in plates[:i] if p.dim == plate.dim), None)
        if other is not None:
            raise InputError(
                f"plates {other.name!r} and {plate.name!r} of site {name!r} are both at dim={plate.dim}; "
                "give each a dim of its own"
            )


def check_joint(name: str, layout: JointLayout, event_shape: Sequence[int]) -> None:
    """Raise InputError unless the joint distribution gives a vector of the layout's length."""
    if tuple(event_shape) != (layout.size,):
        raise InputError(
            f"the distribution of {name!r} has event shape {tuple(event_shape)}; expected ({layout.size},): "
            f"{layout.formula()}"
        )


def check_items(name: str, given: Sequence[int], drawn: Sequence[int]) -> None:
    """Raise InputError if plates made more items of the joint distribution than it was given.

    given: its batch shape; drawn: that of its draw. What stands to the left of `given` is of particles.
    """
    for dim in range(-len(given), 0):
        if given[dim] == 1 != drawn[dim]:
            raise InputError(
                f"the distribution of {name!r} has batch shape {tuple(given)}, the plates around it make it "
                f"{tuple(drawn)}: one normal would serve {drawn[dim]} items; give each its own, or expand it"
            )
