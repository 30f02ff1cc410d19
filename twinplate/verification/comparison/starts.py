"""Where training starts: the first values that the programs themselves give their parameters.

A verdict is on equal parameters, whatever these start from. Only values that somebody has written are
compared, such as 0.5: layers and automatic guides start at random or from the model, as frameworks have it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinplate.records.record import Array, Record
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.matching.parameters import autoguide_role

DIGITS = 4  # of a number that is written, and none that is drawn or computed
ROUNDING = 1e-6  # relative: some are written in single precision


def compare_starts(first: Record, second: Record) -> Iterator[Finding]:
    """A note on each parameter that starts from another written value."""
    for name, mine in first.starts.items():
        theirs = second.starts.get(name)
        if theirs is None or theirs.shape != mine.shape or autoguide_role(name):
            continue
        if not (_is_written(mine) and _is_written(theirs)):
            continue
        apart = ~np.isclose(mine, theirs, rtol=ROUNDING, atol=ROUNDING)
        if apart.any():
            a, b = (float(values[apart][0]) for values in (mine, theirs))
            message = (
                f"starts from {a:g} in the first program and from {b:g} in the second: the same program, "
                "whose training starts elsewhere"
            )
            yield Finding("note", "parameter", "loss", name, message, f"{a:g}", f"{b:g}")


def _is_written(values: Array) -> bool:
    """Whether all numbers are short decimals."""
    return all(np.isclose(x, float(f"{x:.{DIGITS}g}"), rtol=ROUNDING, atol=0) for x in values.flat)
