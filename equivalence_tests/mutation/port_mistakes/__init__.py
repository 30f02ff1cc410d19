"""Single deliberate mistakes of somebody who ports a program, in copies of the correct pairs."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes import (
    discrete,
    hierarchies,
    items,
    kinds,
    losses,
    networks,
    numerics,
    series,
)
from equivalence_tests.mutation.port_mistakes.mistake import Mistake
from equivalence_tests.pairs import is_installed

_GROUPS = tuple(
    group
    for module in (hierarchies, series, discrete, networks, numerics, kinds, losses, items)
    for group in module.GROUPS
)

MISTAKES: dict[str, Mistake] = {
    f"{mistake.pair}-{name}": mistake
    for group in _GROUPS
    for name, mistake in group.items()
    if is_installed(mistake.pair)
}
