"""Whether two records belong together: only then can their numbers be compared."""

from __future__ import annotations

import numpy as np

from twinplate.errors import InputError
from twinplate.records.record import Array, Given, Record


def check_comparable(first: Record, second: Record) -> None:
    """Raise InputError unless `second` was recorded like `first`, on the same inputs."""
    if first.settings != second.settings:
        raise InputError(
            f"the records were made with other settings ({first.settings}; {second.settings}); "
            "record the second program like the first: twinplate record FILE.py:PROGRAM --like FIRST"
        )
    if not _same_arrays(first.inputs, second.inputs):
        both = (first.inputs, second.inputs)
        names = sorted(
            name
            for name in {**first.inputs, **second.inputs}
            if not _same_arrays(*({n: i[n] for n in i if n == name} for i in both))
        )
        raise InputError(
            f"the records were made with other inputs ({', '.join(names)}); a record is compared with "
            "one of the same arguments"
        )
    for draw in first.given.keys() & second.given.keys():
        if not _same_given(first.given[draw], second.given[draw]):
            raise InputError(
                "the records hold other draws, so their numbers cannot be compared; record the second "
                "program like the first: twinplate record FILE.py:PROGRAM --like FIRST"
            )


def _same_given(a: Given, b: Given) -> bool:
    return all(
        _same_arrays(getattr(a, name), getattr(b, name))
        for name in ("draws", "indices", "parameters")
    )


def _same_arrays(a: dict[str, Array], b: dict[str, Array]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].shape == b[name].shape and bool(np.all((a[name] == b[name]) | (a[name] != a[name])))
        for name in a
    )
