"""A finding with all that explanations look at: sites, arguments, inputs, operations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinplate.records.record import Array, Record, Site
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.numbers import DrawPair

AGREEMENT = 1e-9  # relative, of a quantity with what a known mistake would make of it


@dataclass(frozen=True)
class Context:
    """A finding with the sites it concerns, where both programs have them."""

    finding: Finding
    pair: DrawPair
    first: Site | None
    second: Site | None

    @property
    def is_numeric(self) -> bool:
        """Whether numbers of a site or a gradient differ."""
        return self.finding.level == "difference" and self.finding.stage in (
            "value",
            "density",
            "gradient",
        )

    @property
    def relative(self) -> float:
        """Relative difference of the two numbers that the finding shows, 1 without two finite ones."""
        try:
            a, b = float(self.finding.first), float(self.finding.second)
        except ValueError:
            return 1.0
        return abs(a - b) / max(abs(a), abs(b)) if np.isfinite([a, b]).all() and a != b else 1.0

    def operations(self, framework: str) -> set[str]:
        """Numerical functions that the program of `framework` calls, empty if neither is of it."""
        records: tuple[Record, Record] = (self.pair.first, self.pair.second)
        return {op for r in records if r.framework == framework for op in r.operations}

    def arguments(self) -> list[tuple[str, Array, Array]]:
        """Distribution arguments that both sites have, broadcast against each other."""
        if self.first is None or self.second is None:
            return []
        common = [n for n in self.first.arguments if n in self.second.arguments]
        found = []
        for name in common:
            a, b = self.first.arguments[name], self.second.arguments[name]
            try:
                a, b = np.broadcast_arrays(a, b)
                found.append((name, a, b))
            except ValueError:
                continue
        return found

    def differing(self) -> list[tuple[str, Array, Array]]:
        """Arguments whose numbers differ."""
        return [(n, a, b) for n, a, b in self.arguments() if not alike(a, b)]


def alike(a: npt.ArrayLike, b: npt.ArrayLike) -> bool:
    """Whether arrays of numbers agree to `AGREEMENT`."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=AGREEMENT, atol=0.0, equal_nan=True))
