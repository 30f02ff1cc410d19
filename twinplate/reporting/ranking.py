"""Which of several runs is the best, where they can be compared, and which are as good as it."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from twinplate.reporting.agreement import CLOSE
from twinplate.reporting.runs import ReportedRun
from twinplate.training.state import LAST


def comparable(runs: Sequence[ReportedRun]) -> bool:
    """Whether one of the runs can be called the best: by the same features of the same items."""
    return same_features(runs) and same_kind(runs) and (runs[0].gaps is not None or same_data(runs))


def same_data(runs: Sequence[ReportedRun]) -> bool:
    """Whether they were trained on the same data."""
    return len({run.saved.data["fingerprint"] for run in runs}) == 1


def same_features(runs: Sequence[ReportedRun]) -> bool:
    """Whether they are models of the same columns."""
    return len({tuple(run.saved.data["columns"]) for run in runs}) == 1


def same_kind(runs: Sequence[ReportedRun]) -> bool:
    """Whether their evidence is of one kind: densities, or probabilities given the same offsets."""

    def kind(run: ReportedRun) -> tuple[bool, str, str]:
        assert run.fit.program is not None
        offset = run.fit.program.config.offset
        return run.is_bound, offset, run.saved.data.get("offset", "")

    return len({kind(run) for run in runs}) == 1


def best_of(runs: Sequence[ReportedRun]) -> ReportedRun:
    """The one with the highest score; of those that are not behind it, the one whose guide misses least."""
    return min(_not_behind(runs), key=_gap)


def best_ones(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """It, and those that are as good: in their score and in what their guides miss."""
    least = _gap(best_of(runs))
    return [run for run in _not_behind(runs) if _gap(run) <= least + CLOSE]


def _not_behind(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    top = max(runs, key=lambda run: run.score)
    return [run for run in runs if run is top or top.score - run.score <= _error(top, run)]


def _gap(run: ReportedRun) -> float:
    gap = None if run.gaps is None else run.gaps.gap
    return 0.0 if gap is None else gap


def _error(one: ReportedRun, other: ReportedRun) -> float:
    """One standard error of the difference of two scores, by items or steps; CLOSE at least."""
    if one.gaps is not None and other.gaps is not None:
        drawn = one.gaps.error**2 + other.gaps.error**2  # of counts
        if len(one.gaps.evidence) != len(
            other.gaps.evidence
        ):  # of counts, one guide of complete items
            parts = [gaps.evidence.var() / len(gaps.evidence) for gaps in (one.gaps, other.gaps)]
            return max(CLOSE, sqrt(float(sum(parts)) + drawn))
        apart = one.gaps.evidence - other.gaps.evidence
        return max(CLOSE, sqrt(float(apart.var()) / len(apart) + drawn))
    parts = [run.fit.losses[-LAST:] for run in (one, other)]
    if not all(len(part) and np.isfinite(part).all() for part in parts):
        return CLOSE
    return max(CLOSE, sqrt(sum(float(part.var()) / len(part) for part in parts)))
