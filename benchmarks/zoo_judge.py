"""What became of a run of the zoo: whether it diverged, its excursions, and where it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twinplate.backends import load_backend
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import generative_of
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.training.state import Array

MARGIN = 1.0  # nat per item that a mean of losses may be below what is possible, besides its error
BLOCK, BEFORE = 10, 500  # steps
LAST = 100


@dataclass(frozen=True)
class Outcome:
    """Gaps are in nats per item, and None where parameters are not finite.

    cause: of the divergence, "stopped", "not finite" or "impossible", else empty.
    gap: with learned loadings, the log evidence of the best solution known minus that of the fitted model;
        with given ones, the log evidence minus the guide's expected ELBO.
    missed: KL(guide ‖ exact posterior of the fitted model), for given loadings the same number.
    excursions: how often the loss rose far above what it had been.  unhealed: those of them after which
        the run ended worse than it had been before.
    """

    cause: str
    excursions: int
    unhealed: int
    gap: float | None
    missed: float | None

    @property
    def diverged(self) -> bool:
        """Whether there is a cause to say so."""
        return bool(self.cause)

    @classmethod
    def without(cls, cause: str, losses: Array) -> Outcome:
        """Of a run without a result."""
        return cls(cause, *excursions(losses[np.isfinite(losses)]), None, None)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for a row."""
        return {"diverged": self.diverged, **asdict(self)}


def judge(
    framework: str,
    x: Array,
    program: ReferenceProgram,
    best: LinearGaussian,
    params: Params,
    losses: Array,
) -> Outcome:
    """The outcome of a run that went to its end. `best` is the best model known, or the one given."""
    values = [losses, *params.values()]
    if not all(np.isfinite(v).all() for v in values):
        return Outcome.without("not finite", losses)
    evidence = float(best.log_evidence(x).mean())
    fitted = generative_of(program, params)
    guide = load_backend(framework).posterior(x, program, params)
    missed = float(fitted.kl_to_posterior(x, guide).mean())
    gap = evidence - float(fitted.log_evidence(x).mean()) if program.learned else missed
    if not np.isfinite([missed, gap]).all():
        return Outcome.without("not finite", losses)
    cause = "impossible" if missed < -MARGIN or impossible(losses, evidence) else ""
    return Outcome(cause, *excursions(losses), gap, missed)


def impossible(losses: Array, evidence: float) -> bool:
    """Whether the ELBOs reported in the second half of a run are above the largest log evidence there is.

    That is what inaccurate densities look like. Half a run sees every item, the rare far ones too.
    """
    half = losses[len(losses) // 2 :]
    error = half.std() / np.sqrt(len(half))
    return bool(-half.mean() - evidence > MARGIN + 5 * error)


def excursions(losses: Array) -> tuple[int, int]:
    """How often the loss rose far above what it had been, and after how many of these it ended worse.

    Far: the median of 10 steps is above the 500 before, the highest tenth of them left out, by 10 nats and
    20 % of their median. The highest tenth: a mini-batch with a far outlier is no excursion. Worse: the
    median of the last 100 steps is above that of the 500 before by half of their interquartile range.
    """
    found, worse = 0, 0
    ends = range(BLOCK, len(losses) + 1, BLOCK)
    limit: float | None = None  # of the excursion under way
    for end in ends:
        before = losses[max(0, end - BLOCK - BEFORE) : end - BLOCK]
        now = float(np.median(losses[end - BLOCK : end]))
        if limit is not None:
            limit = None if now <= limit else limit
        elif len(before) >= LAST:
            low, middle, high, highest = np.quantile(before, [0.25, 0.5, 0.75, 0.9])
            if now > (far := highest + 10 + 0.2 * abs(middle)):
                limit, found = far, found + 1
                worse += bool(np.median(losses[-LAST:]) > middle + 0.5 * (high - low))
    return found, worse
