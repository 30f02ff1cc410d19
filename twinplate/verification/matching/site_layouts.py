"""Sites whose values the user's `rename` lays out otherwise: a weight (out, in) there, (in, out) here.

The two functions may only move numbers, not change them: so support and density of a value are those of
the moved one, and everything that a record says of the site can be moved along.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from twinplate.errors import InputError
from twinplate.records.record import Array, Plate, Site
from twinplate.verification.matching.parameters import Convert
from twinplate.verification.matching.sites import Layout, SiteMatch, align


@dataclass(frozen=True)
class Rearrangement:
    """Where the numbers of a site's value in one program are in the other's. Shapes are of one particle.

    order: number i of the second's value is number order[i] of the first's.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    order: Array

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self.first == self.second and bool((np.diff(self.order) == 1).all())

    def to_first(self, values: Array) -> Array:
        """(P, *second) to (P, *first)."""
        flat = values.reshape(len(values), -1)
        return flat[:, np.argsort(self.order)].reshape(len(values), *self.first)

    def to_second(self, values: Array) -> Array:
        """(P, *first) to (P, *second)."""
        flat = values.reshape(len(values), -1)
        return flat[:, self.order].reshape(len(values), *self.second)

    def site(self, name: str, site: Site) -> Site:
        """A site of the second program, laid out as in the first, where it is called `name`.

        Raises InputError where a batch dim and an event dim are mixed.
        """
        events = math.prod(site.event_shape)
        of_first = (np.argsort(self.order) // max(events, 1)).reshape(self.first)
        depth = _batch_dims(of_first, math.prod(site.batch_shape), events)
        if depth is None:
            raise InputError(
                f"rename's layout of site {name!r} mixes batch dims {site.batch_shape} with event dims "
                f"{site.event_shape} of the second program; give it the shape of the first with .to_event"
            )
        batch_shape = self.first[:depth]
        batch = of_first.reshape(*batch_shape, -1)[
            ..., 0
        ]  # batch element of the second at each of ours
        count = 1 if site.log_prob is None else len(site.log_prob)

        def moved(values: Array) -> Array:
            wide = np.broadcast_to(values, (count, *site.batch_shape))
            return wide.reshape(count, -1)[:, batch]

        weighted = isinstance(site.scale, np.ndarray)
        return dataclasses.replace(
            site,
            plates=_plates(site, batch),
            batch_shape=batch_shape,
            event_shape=self.first[depth:],
            scale=moved(np.asarray(site.scale)) if weighted else site.scale,
            value=None if site.value is None else self.to_first(site.value),
            log_prob=None if site.log_prob is None else moved(site.log_prob),
            mask=None if site.mask is None else moved(site.mask),
            arguments={
                n: v for n, a in site.arguments.items() if (v := self._argument(a)) is not None
            },
        )

    def _argument(self, values: Array) -> Array | None:
        """Moved where there is one for each number of the value, kept where one serves all, else left out."""
        if values.ndim == 1 + len(self.second):
            try:
                return self.to_first(np.broadcast_to(values, (len(values), *self.second)))
            except ValueError:
                return None
        return values if values.size <= 1 else None


def _batch_dims(batch: Array, count: int, events: int) -> int | None:
    """How many of the leading dims number `count` whole batch elements of `events` numbers each."""
    for depth in range(batch.ndim + 1):
        rows = batch.reshape(math.prod(batch.shape[:depth]), -1)
        if rows.shape == (count, events) and (rows == rows[:, :1]).all():
            return depth
    return None


def _plates(site: Site, batch: Array) -> tuple[Plate, ...]:
    """The site's plates, with the dims along which their numbers lie in `batch`."""
    places = np.unravel_index(batch, site.batch_shape) if site.batch_shape else ()
    found = []
    for plate in site.plates:
        along = places[plate.dim] if len(places) >= -plate.dim else np.zeros(batch.shape)
        dims = [d for d in range(-batch.ndim, 0) if np.diff(along, axis=d).any()]
        found.append(dataclasses.replace(plate, dim=dims[0]) if len(dims) == 1 else plate)
    return tuple(sorted(found, key=lambda plate: plate.dim))


def rearrangement(
    name: str,
    convert: tuple[Convert, Convert],
    first: tuple[int, ...],
    second: tuple[int, ...],
) -> Rearrangement | None:
    """What `convert`, (to_second, to_first), does to values of these shapes; None where it gives others.

    Raises InputError for functions that fail, change numbers, or do not undo each other.
    """
    to_second, to_first = convert
    numbers = np.arange(math.prod(first), dtype=np.float64).reshape(first)
    try:
        moved = np.asarray(to_second(numbers), dtype=np.float64)
        back = np.asarray(to_first(moved), dtype=np.float64)
    except Exception as error:
        raise InputError(
            f"rename's functions for site {name!r} fail on a value of shape {first}: {error!r}"
        ) from error
    if not np.array_equal(np.sort(moved, axis=None), numbers.ravel()):
        raise InputError(
            f"rename's to_second changes the numbers of site {name!r}; expected a function that only moves "
            "them, as np.transpose and np.reshape do. Sample a site of the same meaning in both programs"
        )
    if not np.array_equal(back, numbers):
        raise InputError(
            f"rename's to_first does not undo to_second at site {name!r}: of shape {first} it makes "
            f"{moved.shape} and then {back.shape}; expected the values as they were"
        )
    return (
        Rearrangement(first, second, moved.ravel().astype(int)) if moved.shape == second else None
    )


def layout_of(match: SiteMatch, first: Site, second: Site) -> Layout | Rearrangement | None:
    """The layout between the values of two sites: the user's, or by plates and the order of dims."""
    if match.convert is None or 0 in first.event_shape:
        return align(first, second)
    shapes = (site.batch_shape + site.event_shape for site in (first, second))
    return rearrangement(match.first[0], match.convert, *shapes)


def laid_out(match: SiteMatch, first: Site, second: Site) -> Site:
    """The second program's site with its value laid out as the first's, where the two correspond."""
    layout = layout_of(match, first, second)
    if layout is None or layout.is_identity:
        return second
    if isinstance(layout, Rearrangement):
        return layout.site(match.first[0], second)
    if second.value is None:
        return second
    return dataclasses.replace(second, value=layout.to_first(second.value))
