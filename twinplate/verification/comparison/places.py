"""How a place among compared numbers is said: by its index in the shape that the report shows."""

from __future__ import annotations

from collections.abc import Callable

from twinplate.records.record import Site
from twinplate.verification.comparison.correspondence import moved
from twinplate.verification.matching.sites import kept_batch_dims

Index = tuple[int, ...]
Say = Callable[[Index], str]


def of_array(index: Index) -> str:
    """Of an array as it is, such as a parameter: "[1, 2]", "" of a single number."""
    return _bracketed(list(map(str, index)))


def of_particles(count: int) -> Say:
    """Of an array (count, …): the particle is said only where there are several.

    >>> of_particles(1)((0, 20)), of_particles(2)((1, 20)), of_particles(2)((1,)), of_particles(1)((0,))
    ('[20]', '[20] of particle 1', 'particle 1', '')
    """
    return lambda index: _with_particle(count, index[0], of_array(index[1:]))


def of_densities(count: int, first: Site, second: Site) -> Say:
    """Of log densities (count, …) in the batch dims of both sites: an index in the first's batch shape.

    Where the densities were summed over a dim, which the second site does not have, the index has a colon.
    """
    correspondence = moved(first, second)
    pairs = correspondence.pairs if correspondence else []
    is_common = [other.is_batch for mine, other in pairs if mine.is_batch]

    def say(index: Index) -> str:
        common, rest = iter(is_common), iter(index[1:])
        parts = [
            "0" if not is_kept else str(next(rest)) if next(common) else ":"
            for is_kept in kept_batch_dims(first)
        ]
        return _with_particle(count, index[0], _bracketed(parts))

    return say


def _bracketed(parts: list[str]) -> str:
    return f"[{', '.join(parts)}]" if parts else ""


def _with_particle(count: int, particle: int, place: str) -> str:
    if count == 1:
        return place
    return f"{place} of particle {particle}" if place else f"particle {particle}"
