"""Functions of a framework that are known to be inaccurate in double precision, or their derivatives.

Measured with torch 2.13 and JAX 0.10.2, judged by mpmath; `docs/distributions.md` has the figures. A
program that calls such a function, or whose loss does, has numbers that are wrong by themselves. What a
distribution does with it inside is in the table of its family (`inaccuracies`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinplate.records.record import Array, Run
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.numbers import WHICH, DrawPair
from twinplate.verification.comparison.rounding import FLOAT32_EPS

SAMPLES = (
    8.0  # what single precision changes, of which there are two samples, may be small by chance
)


@dataclass(frozen=True)
class InaccurateFunction:
    """One function of one framework: bounds on the relative error of its value and derivative, and why."""

    framework: str
    function: str
    value: float
    derivative: float
    reason: str


FUNCTIONS = (
    InaccurateFunction(
        "pyro", "digamma", 0.0, 6e-10, "the derivative of torch's digamma is right to 5e-10 only"
    ),
    InaccurateFunction(
        "pyro", "polygamma", 6e-10, 6e-10, "torch's trigamma is right to 5e-10 only"
    ),
    InaccurateFunction(
        "pyro",
        "softplus",
        1.1e-10,
        2.1e-9,
        "torch's softplus is linear above 20, off by 2e-9 there",
    ),
    InaccurateFunction(
        "numpyro",
        "betaln",
        1e-6,
        2e-6,
        "JAX's betaln takes x = h / (1 + h) for 1 / (1 + h) where an argument is 8 or more",
    ),
    InaccurateFunction(
        "numpyro", "log_ndtr", 2.1e-11, 4.5e-9, "JAX's log_ndtr is a short series below -20"
    ),
)


def inaccurate_functions(pair: DrawPair) -> list[InaccurateFunction]:
    """Those that either program or its loss calls."""
    called = {
        (record.framework, operation.partition("(")[0])
        for record in (pair.first, pair.second)
        for operation in record.operations
    }
    return [entry for entry in FUNCTIONS if (entry.framework, entry.function) in called]


def explains(function: InaccurateFunction, finding: Finding, pair: DrawPair) -> bool:
    """Whether the numbers of a finding differ by no more than the function's error makes them.

    Terms in which it is may cancel. What single precision changes shows how large they are: it rounds
    them by 2⁻²³.
    """
    bound = function.derivative if finding.stage == "gradient" else function.value
    a, b = (_numbers(pair.run(which), finding) for which in WHICH)
    if not bound or a is None or b is None or a.shape != b.shape:
        return False
    single = [_numbers(pair.run(which, "float32"), finding) for which in WHICH]
    with np.errstate(invalid="ignore"):  # two infinite numbers have no difference
        changes = [s - exact for s, exact in zip(single, (a, b), strict=True) if s is not None]
        apart = np.abs(a - b)
    noise = max((_largest(change) for change in changes), default=0.0)
    size = max(1.0, _largest(a))
    return bool((apart <= bound * (size + SAMPLES * noise / FLOAT32_EPS)).all())


def _numbers(run: Run, finding: Finding) -> Array | None:
    """What the finding is about in one run, None where there is nothing of the kind."""
    found: Array | None = None
    if finding.stage == "gradient" and finding.site in run.parameters:
        found = run.parameters[finding.site].gradient
    elif finding.stage == "loss":
        found = run.loss
    elif finding.stage in ("value", "density"):
        site = getattr(run, finding.program).get(finding.site)
        if site is not None and site.log_prob is not None:
            found = site.value if finding.stage == "value" else site.scaled
    return None if found is None else np.asarray(found, dtype=np.float64)


def _largest(changes: Array) -> float:
    return float(np.where(np.isfinite(changes), np.abs(changes), 0.0).max(initial=0.0))
