"""Trial fits of each covariance by each backend: what they reach on held-out items, and in which time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinplate.backends import load_backend
from twinplate.choosing.counts import Counts
from twinplate.choosing.held_out import FOLDS, Told
from twinplate.data.blocks import Array
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.program import make_program

STEPS = 300  # of a trial


@dataclass(frozen=True, eq=False)
class Trial:
    """elbo: exact expected ELBO of every held-out item under the fit, nats.  evidence: exact, of the same.

    compile_seconds: before the first step.  step_seconds: of each.
    """

    covariance: str
    backend: str
    elbo: Array
    evidence: Array
    compile_seconds: float
    step_seconds: float

    def total_seconds(self, steps: int) -> float:
        """Of a fit of that many steps."""
        return self.compile_seconds + steps * self.step_seconds


def usual_covariances(components: int) -> tuple[str, ...]:
    """From the simplest to the most complex; those that are not the same for K components."""
    if components == 1:
        return ("diagonal",)
    return ("diagonal", "full") if components < 4 else ("diagonal", "low-rank", "full")


def try_covariances(
    x: Array,
    components: int,
    backends: Sequence[str],
    tell: Told = lambda text: None,
    counts: Counts | None = None,
    *,
    steps: int = STEPS,
) -> list[Trial]:
    """Fit K components to four fifths of the items `x` (N, D), the rest held out; NaN where missing.

    counts: of what likelihood they are, if not normal; ELBO and evidence are by draws then.
    """
    out = np.arange(len(x)) % FOLDS == 0
    train, test = x[~out], x[out]
    encoder = "experts" if np.isnan(x).any() else "mlp"
    found = []
    for covariance in usual_covariances(components):
        config = ProgramConfig(
            x.shape[1], components, covariance=covariance, encoder=encoder, learned=None
        )
        of, new = None, None
        if counts is not None:
            config = counts.config(x, components, covariance)
            of, new = counts.some(~out).given, counts.some(out).given
        program = make_program(train, config, offsets=of)
        training = TrainingConfig(steps=steps, device="auto").for_items(len(train))
        for backend in backends:
            tell(f"{covariance} covariance, {backend}")
            implementation, clock = load_backend(backend), _Clock()
            fit = implementation.fit(train, program, training, progress=clock, offsets=of)
            if counts is None:
                scores = fit.elbo(test), fit.log_evidence(test)
            else:
                bound = fit.evidence_bound(test, offsets=new)
                scores = bound.elbo, bound.value
            found.append(Trial(covariance, backend, *scores, *clock.seconds()))
    return found


class _Clock:
    """Told how many steps are done; the first of them compile, the later ones tell the time of a step."""

    def __init__(self) -> None:
        self._ends = [(0, time.perf_counter())]

    def __call__(self, done: int, losses: Array) -> None:
        self._ends.append((done, time.perf_counter()))

    def seconds(self) -> tuple[float, float]:
        """Before the first step, and of each; of a single chunk all count as steps."""
        (_, start), (first, begun), *_ = self._ends
        steps, end = self._ends[-1]
        if steps == first:
            return 0.0, (end - start) / steps
        each = (end - begun) / (steps - first)
        return max(begun - start - first * each, 0.0), each
