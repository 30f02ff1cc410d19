"""A run with all that a report says of it: measured once, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinplate.data.blocks import Array, Rows, fitting, gather
from twinplate.data.stored import Matrix
from twinplate.data.table import Table
from twinplate.errors import InputError
from twinplate.programs.count_prediction import CountPrediction
from twinplate.programs.importance import bounded_places
from twinplate.programs.prediction import Prediction
from twinplate.reporting.calibration import Calibration, calibrate
from twinplate.reporting.count_calibration import calibrate_counts
from twinplate.reporting.gaps import Gaps, bound_gaps, measure_gaps
from twinplate.reporting.latents import Correlations, Intervals, correlations, intervals
from twinplate.reporting.losses import missed_by_step
from twinplate.seeds import generator
from twinplate.training.loading import fit_of
from twinplate.training.run_format import SavedRun
from twinplate.training.state import LAST, Fit

SAMPLED = 2000  # items at most whose predictions and latents are looked at
SAMPLED_BYTES = 2**26  # that they may take


@dataclass(frozen=True, eq=False)
class ReportedRun:
    """name: how the page calls it.  size: of the run directory in bytes.

    Of the data, if there are any: gaps; missed, (steps,), the loss of each step beyond the exact answer of
    its items, if the run was trained on them; calibration; intervals and predicted, of the sampled items.
    own_data: whether the data are those that the run was trained on.
    below: nats per item that the evidence of new data is far below that of the training; None if it is not.
    data_size: (N, D) of the data.
    correlations: of an item, or without data of one at the mean of those in training.
    """

    name: str
    saved: SavedRun
    fit: Fit
    size: int
    own_data: bool = False
    gaps: Gaps | None = None
    missed: Array | None = None
    calibration: Calibration | None = None
    correlations: Correlations | None = None
    intervals: Intervals | None = None
    predicted: Prediction | CountPrediction | None = None
    below: float | None = None
    data_size: tuple[int, int] | None = None

    @property
    def backend(self) -> str:
        """The framework that fitted it."""
        return str(self.saved.config.get("backend", "unknown"))

    @property
    def likelihood(self) -> str:
        """That of its program."""
        assert self.fit.program is not None
        return self.fit.program.config.likelihood

    @property
    def is_bound(self) -> bool:
        """Whether what it is held against is a bound rather than exact, as of counts."""
        return self.likelihood != "normal"

    @property
    def last_loss(self) -> float:
        """Mean of the last LAST losses; NaN without any."""
        return float(self.fit.losses[-LAST:].mean()) if len(self.fit.losses) else float("nan")

    @property
    def has_losses(self) -> bool:
        """Whether there is a loss to draw."""
        return bool(np.isfinite(self.fit.losses).any())

    @property
    def score(self) -> float:
        """What ranks runs, the higher the better: the log evidence or its bound, or else the last losses."""
        found = -self.last_loss if self.gaps is None else self.gaps.mean_evidence
        return found if np.isfinite(found) else -np.inf


def read_report(
    name: str,
    saved: SavedRun,
    size: int,
    table: Table | None,
    progress: Rows | None = None,
    offsets: Array | None = None,
) -> ReportedRun:
    """Everything that is to be known of a run. Raises InputError where its program cannot be made.

    offsets: (N,), of the items of counts of a program that has offsets.
    """
    saved.check_told()
    fit = fit_of(saved)
    program = fit.program
    assert program is not None  # `fit_of` has made one
    if table is None:
        if program.config.likelihood != "normal":  # of which no item is at the mean of all
            return ReportedRun(name, saved, fit, size)
        at_mean = correlations(fit, program.center[None], lambda _: "an item at the mean of all")
        return ReportedRun(name, saved, fit, size, correlations=at_mean)
    counts = program.config.likelihood != "normal"
    x = table.x
    gaps = bound_gaps(fit, x, offsets) if counts else measure_gaps(fit, x, progress)
    own = table.fingerprint == saved.data["fingerprint"]
    items = sample(table.x)
    x = gather(table.x, items).astype(np.float64)
    of = None if offsets is None else offsets[items]
    guided = items_for_guide(fit, x, of)
    shown, given = x[guided], None if of is None else of[guided]

    def name_of(n: int) -> str:
        place = int(items[guided[n]])
        return table.items[place] if table.items else f"row {place + 1}"

    return ReportedRun(
        name,
        saved,
        fit,
        size,
        own,
        gaps,
        _missed(saved, fit, gaps) if own else None,
        calibrate_counts(fit, x, _only_given(fit, of)) if counts else calibrate(fit, x),
        correlations(fit, shown, name_of, given) if len(guided) else None,
        intervals(fit, shown, name_of, given) if len(guided) else None,
        _predicted(fit, shown, given),
        None if own else _far_below(saved, fit, x, gaps, of),
        (len(table.x), table.x.shape[1]),
    )


def sample(x: Matrix) -> np.ndarray:
    """Places of at most SAMPLED items of `x` (N, D) in their order, the same ones for the same N and D."""
    most = fitting(8 * x.shape[1], SAMPLED, SAMPLED_BYTES)
    if len(x) <= most:
        return np.arange(len(x))
    return np.sort(generator(0, "report").choice(len(x), most, replace=False))


def items_for_guide(fit: Fit, x: Array, offsets: Array | None = None) -> np.ndarray:
    """Places of the items of `x` that the guide can take: all, or those without missing entries."""
    try:
        fit.posterior_blocks(x, offsets=offsets)
    except InputError:
        return np.flatnonzero(~np.isnan(x).any(axis=1))
    return np.arange(len(x))


def _missed(saved: SavedRun, fit: Fit, gaps: Gaps) -> Array | None:
    """Of a run that has maximised the ELBO from its first step on."""
    training = saved.training
    if training.objective != "elbo" or not 0 < len(fit.losses) == saved.step:
        return None
    if gaps.items is not None and len(gaps.items) < saved.data["num_items"]:  # of counts
        return None
    return missed_by_step(fit.losses, gaps.evidence, training)


def _far_below(
    saved: SavedRun, fit: Fit, x: Array, gaps: Gaps, offsets: Array | None
) -> float | None:
    """By how much the evidence of `x` (N, D) is below what the training reached, where that is far.

    The last losses may be of items with more or fewer missing entries, so items that are drawn from the model
    with those of `x` are to be better too. Far is more than the √(D / 2) nats by which items of D normal
    entries vary, of counts than drawn items do, and than chance.
    """
    assert fit.program is not None
    if fit.program.config.amplitude_scale is not None:
        return None
    if fit.program.config.likelihood == "normal":
        drawn, _ = fit.generative.simulate(len(x), generator(0, "alike"))
        expected = fit.log_evidence(np.where(np.isnan(x), np.nan, drawn))
        found, far = fit.log_evidence(x), float(np.sqrt(x.shape[1] / 2))
    else:
        some = bounded_places(len(x))
        some = some[items_for_guide(fit, x[some], _some(offsets, some))]
        x, of = x[some], _some(offsets, some)
        drawn, _ = fit.generalised.simulate(len(x), generator(0, "alike"), of)
        expected = fit.log_evidence(np.where(np.isnan(x), np.nan, drawn), offsets=of)
        found, far = gaps.evidence, float(expected.std())
    reached = float(expected.mean())
    if saved.training.objective == "elbo" and np.isfinite(fit.losses[-LAST:]).any():
        reached = min(reached, -float(np.nanmean(fit.losses[-LAST:])))
    error = np.sqrt(
        (expected.var() + max(expected.var(), found.var())) / min(len(expected), len(found))
    )
    below = reached - float(found.mean())
    return below if below > max(far, 3 * error) else None


def _predicted(fit: Fit, x: Array, offsets: Array | None) -> Prediction | CountPrediction | None:
    try:
        return fit.predict(x, offsets=offsets)
    except InputError:  # with an amplitude
        return None


def _only_given(fit: Fit, offsets: Array | None) -> Array | None:
    """Offsets that are not made of the counts themselves."""
    return offsets if fit.program is not None and fit.program.config.offset == "given" else None


def _some(offsets: Array | None, items: np.ndarray) -> Array | None:
    return None if offsets is None else offsets[items]
