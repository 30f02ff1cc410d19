"""A run with all that a report says of it: measured once, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinplate.data.blocks import Array, Rows, fitting, gather
from twinplate.data.stored import Matrix
from twinplate.data.table import Table
from twinplate.errors import InputError
from twinplate.programs.prediction import Prediction
from twinplate.reporting.calibration import Calibration, calibrate
from twinplate.reporting.gaps import Gaps, measure_gaps
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
    predicted: Prediction | None = None
    below: float | None = None
    data_size: tuple[int, int] | None = None

    @property
    def backend(self) -> str:
        """The framework that fitted it."""
        return str(self.saved.config.get("backend", "unknown"))

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
        """What ranks runs, the higher the better: the exact log evidence, or else the last losses."""
        found = -self.last_loss if self.gaps is None else self.gaps.mean_evidence
        return found if np.isfinite(found) else -np.inf


def read_report(
    name: str, saved: SavedRun, size: int, table: Table | None, progress: Rows | None = None
) -> ReportedRun:
    """Everything that is to be known of a run. Raises InputError where its program cannot be made."""
    saved.check_told()
    fit = fit_of(saved)
    program = fit.program
    assert program is not None  # `fit_of` has made one
    if (likelihood := program.config.likelihood) != "normal":
        raise InputError(
            f"{name} was fitted with likelihood {likelihood!r}, and the report stands on exact answers of "
            "the normal one; expected runs with likelihood 'normal': of others, `twinplate summary` and "
            "`twinplate score` say how they went"
        )
    if table is None:
        at_mean = correlations(fit, program.center[None], lambda _: "an item at the mean of all")
        return ReportedRun(name, saved, fit, size, correlations=at_mean)
    gaps = measure_gaps(fit, table.x, progress)
    own = table.fingerprint == saved.data["fingerprint"]
    items = sample(table.x)
    x = gather(table.x, items).astype(np.float64)
    guided = items_for_guide(fit, x)

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
        calibrate(fit, x),
        correlations(fit, x[guided], name_of) if len(guided) else None,
        intervals(fit, x[guided], name_of) if len(guided) else None,
        _predicted(fit, x[guided]),
        None if own else _far_below(saved, fit, x),
        (len(table.x), table.x.shape[1]),
    )


def sample(x: Matrix) -> np.ndarray:
    """Places of at most SAMPLED items of `x` (N, D) in their order, the same ones for the same N and D."""
    most = fitting(8 * x.shape[1], SAMPLED, SAMPLED_BYTES)
    if len(x) <= most:
        return np.arange(len(x))
    return np.sort(generator(0, "report").choice(len(x), most, replace=False))


def items_for_guide(fit: Fit, x: Array) -> np.ndarray:
    """Places of the items of `x` that the guide can take: all, or those without missing entries."""
    try:
        fit.posterior_blocks(x)
    except InputError:
        return np.flatnonzero(~np.isnan(x).any(axis=1))
    return np.arange(len(x))


def _missed(saved: SavedRun, fit: Fit, gaps: Gaps) -> Array | None:
    """Of a run that has maximised the ELBO from its first step on."""
    training = saved.training
    if training.objective != "elbo" or not 0 < len(fit.losses) == saved.step:
        return None
    return missed_by_step(fit.losses, gaps.evidence, training)


def _far_below(saved: SavedRun, fit: Fit, x: Array) -> float | None:
    """By how much the evidence of `x` (N, D) is below what the training reached, where that is far.

    The last losses may be of items with more or fewer missing entries, so items that are drawn from the model
    with those of `x` are to be better too. Far is more than the √(D / 2) nats by which items of D normal
    entries vary, and than chance.
    """
    assert fit.program is not None
    if fit.program.config.amplitude_scale is not None:
        return None
    drawn, _ = fit.generative.simulate(len(x), generator(0, "alike"))
    expected = fit.log_evidence(np.where(np.isnan(x), np.nan, drawn))
    found = fit.log_evidence(x)
    reached = float(expected.mean())
    if saved.training.objective == "elbo" and np.isfinite(fit.losses[-LAST:]).any():
        reached = min(reached, -float(np.nanmean(fit.losses[-LAST:])))
    error = np.sqrt((expected.var() + max(expected.var(), found.var())) / len(x))
    below = reached - float(found.mean())
    return below if below > max(np.sqrt(x.shape[1] / 2), 3 * error) else None


def _predicted(fit: Fit, x: Array) -> Prediction | None:
    try:
        found = fit.predict(x)
    except InputError:  # with an amplitude
        return None
    return found if isinstance(found, Prediction) else None
