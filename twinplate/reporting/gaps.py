"""How far a fit is from the exact answer, item by item, in nats."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from twinplate.data.blocks import Array, Rows, blocks, gather
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.importance import EvidenceBound, bounded_places
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.training.state import Fit
from twinplate.words import are, counted

# What a gap of g nats amounts to: KL of two normals whose means are a distance of √(2 g / K) standard
# deviations apart in each of K components. Below GOOD nobody will see it, above POOR everybody will.
GOOD, POOR = 0.1, 0.3


@dataclass(frozen=True, eq=False)
class Gaps:
    """evidence: exact log p(x) of every item (N,), in nats.  missed: KL(guide ‖ exact posterior), (N,).

    family: of these, what the best guide of its family misses, (N,).  Without closed forms both are None,
    and `why` says why; for a low rank `family` alone is.
    components: K.  seconds: that computing all this took.

    bound: of counts, which have no exact evidence; `evidence` and `missed` are by its draws then, of the
    items at the places `items`, and `family` is not known.
    """

    evidence: Array
    missed: Array | None
    family: Array | None
    components: int
    seconds: float
    why: str = ""
    bound: EvidenceBound | None = None
    items: np.ndarray | None = None

    @property
    def error(self) -> float:
        """The standard error of `mean_evidence` by draws; 0 where it is exact."""
        return 0.0 if self.bound is None else self.bound.mean_error

    @property
    def gap_error(self) -> float:
        """That of `gap`; 0 where it is exact."""
        if self.bound is None:
            return 0.0
        errors = self.bound.error, self.bound.elbo_error
        return math.sqrt(sum(float(np.sum(e**2)) for e in errors)) / len(self.evidence)

    @property
    def mean_evidence(self) -> float:
        """Nats per item."""
        return float(self.evidence.mean())

    @property
    def gap(self) -> float | None:
        """What the guide misses in all, nats per item; not below 0, as rounding might make it."""
        return None if self.missed is None else max(float(self.missed.mean()), 0.0)

    @property
    def family_gap(self) -> float | None:
        """Of that, what its family cannot express."""
        return None if self.family is None else float(self.family.mean())

    @property
    def amortisation_gap(self) -> float | None:
        """The rest, which the encoder and its training miss."""
        if self.missed is None or self.family is None:
            return None
        return float((self.missed - self.family).mean())


def equivalent_shift(gap: float, components: int) -> float:
    """Standard deviations that each component's mean would be off by, were that all of the gap.

    >>> equivalent_shift(0.01, 2)
    0.1
    """
    return math.sqrt(2 * max(gap, 0.0) / components)


def tone_of(gap: float, components: int) -> str:
    """ "same" for a good gap, "undecided" for a fair and "difference" for a poor one."""
    shift = equivalent_shift(gap, components)
    return "same" if shift < GOOD else "undecided" if shift < POOR else "difference"


def measure_gaps(fit: Fit, x: Matrix, progress: Rows | None = None) -> Gaps:
    """Of every item of `x` (N, D), N ≥ 1, some at a time."""
    model = fit.generative
    config = fit.program.config if fit.program is not None else None
    assert config is not None
    why = _why_not(fit, x)
    covariance = config.covariance
    started, parts = time.perf_counter(), []
    for _, block in blocks(x, progress, model.items_at_once()):
        found = [fit.log_evidence(block)]
        if not why:
            found.append(model.kl_to_posterior(block, fit.posterior(block)))
            found.append(_family(model, block, covariance))
        parts.append(found)
    evidence, *rest = (np.concatenate(part) for part in zip(*parts, strict=True))
    missed, family = rest if rest else (None, None)
    return Gaps(
        evidence,
        missed,
        None if covariance == "low-rank" else family,
        config.num_components,
        time.perf_counter() - started,
        why,
    )


def bound_gaps(fit: Fit, x: Matrix, offsets: Array | None) -> Gaps:
    """Of items of counts `x` (N, D), N ≥ 1, with offsets (N,): by draws, of BOUNDED of them at most."""
    assert fit.program is not None
    started, items = time.perf_counter(), bounded_places(len(x))
    if _why_not(fit, x):
        complete = ~np.isnan(gather(x, items)).any(axis=1)
        items = items[complete] if complete.any() else items  # of none the bound says why
    of = None if offsets is None else offsets[items]
    bound = fit.evidence_bound(gather(x, items).astype(np.float64), offsets=of)
    return Gaps(
        bound.value,
        bound.missed,
        None,
        fit.program.config.num_components,
        time.perf_counter() - started,
        bound=bound,
        items=items,
    )


def _why_not(fit: Fit, x: Matrix) -> str:
    """Why there are no gaps, for readers of a page; "" where there are."""
    assert fit.program is not None
    if fit.program.config.amplitude_scale is not None:
        return "with an amplitude they have no closed form"
    try:
        fit.posterior_blocks(x)
    except InputError:
        count = sum(int(np.isnan(block).sum()) for _, block in blocks(x))
        return (
            f"{counted(count, 'entry', 'entries')} of the data {are(count)} missing, and the guide has "
            "learned from complete items alone; fit with --missing mask for a guide that takes them"
        )
    return ""


def _family(model: LinearGaussian, x: Array, covariance: str) -> Array:
    return np.zeros(len(x)) if covariance == "low-rank" else model.family_gap(x, covariance)
