"""Do the frameworks agree? Runs of one configuration and one data set, by Pyro and by NumPyro."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from twinplate.data.blocks import Array
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import generative_of
from twinplate.reporting.runs import ReportedRun

MOST_FEATURES = 500  # whose correlations are compared
CLOSE = (
    0.01  # nats per item of evidence, that no two fits of finite length need to agree better than
)


@dataclass(frozen=True)
class Agreement:
    """Two runs that differ in the framework alone.

    evidence: second less first, nats per item; None without data.  error: of that, by draws, of counts.
    covariance: largest difference of the correlations that the two models imply for the features, or of
        counts for their predictors.
    predictions: root mean square difference of the predicted means of the sampled items' entries, in
        predicted standard deviations; None without data, and with an amplitude.
    """

    first: str
    second: str
    evidence: float | None
    covariance: float
    predictions: float | None
    error: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether they agree as far as fits with draws of their own do."""
        found = (self.predictions, self.covariance)
        close = self.evidence is None or abs(self.evidence) < CLOSE + 2 * self.error
        return close and all(value is None or value < 0.1 for value in found)


def agreements(runs: Sequence[ReportedRun]) -> list[Agreement]:
    """Of every two of the runs that can be compared."""
    return [
        _agreement(one, other)
        for one, other in combinations(runs, 2)
        if one.backend != other.backend and _same(one, other)
    ]


def _same(one: ReportedRun, other: ReportedRun) -> bool:
    def settled(run: ReportedRun) -> tuple[object, ...]:
        config, data = run.saved.config, run.saved.data
        training = {k: v for k, v in config["training"].items() if k not in ("seed", "device")}
        return config["program"], training, data["fingerprint"], data["columns"]

    return settled(one) == settled(other)


def _agreement(one: ReportedRun, other: ReportedRun) -> Agreement:
    evidence, error = None, 0.0
    if one.gaps is not None and other.gaps is not None:
        evidence = other.gaps.mean_evidence - one.gaps.mean_evidence
        error = float(np.hypot(one.gaps.error, other.gaps.error))
    covariances = np.abs(_correlation(one) - _correlation(other)).max()
    predictions = None
    if one.predicted is not None and other.predicted is not None:
        apart = (one.predicted.mean - other.predicted.mean) / one.predicted.scale
        predictions = float(np.sqrt(np.mean(apart**2)))
    return Agreement(one.name, other.name, evidence, float(covariances), predictions, error)


def _correlation(run: ReportedRun) -> Array:
    """Of the features, or MOST_FEATURES of them, as the fitted model implies it, (D, D).

    Of counts that of their predictors with noise of 1: one that hardly varies has none to speak of.
    """
    assert run.fit.program is not None
    model = generative_of(run.fit.program, run.fit.params)
    d = model.num_features
    some = np.linspace(0, d - 1, min(d, MOST_FEATURES)).astype(int)
    signal = (model.loadings * model.scale)[some]
    noise = model.noise_scale[some] if isinstance(model, LinearGaussian) else np.ones(len(some))
    covariance = signal @ signal.T + np.diag(noise**2)
    sd = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sd, sd)
