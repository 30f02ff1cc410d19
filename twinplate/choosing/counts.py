"""Bounds on the log evidence of held-out items of counts, for several numbers of components.

Counts have no maximum likelihood in closed form, so the models of the other parts are short fits; and no
exact evidence, so items are scored by importance-weighted draws around the mode of their posterior: what the
guide of a short fit makes of items that it has not seen is no matter of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from twinplate.backends import load_backend
from twinplate.choosing.held_out import FOLDS, Told
from twinplate.data.blocks import Array
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.count_start import feature_means
from twinplate.programs.importance import EvidenceBound, importance_bound
from twinplate.programs.laplace import laplace
from twinplate.programs.likelihood import log_density
from twinplate.programs.offsets import offsets_of
from twinplate.programs.program import make_program
from twinplate.training.state import Fit
from twinplate.words import counted

STEPS = 300  # of a fit
WEIGHTED = 200  # draws of an item: items differ by far more than the error that these leave
MOST_COUNTS = 2000  # items that are looked at
CONCENTRATIONS = 1e-2, 1e3  # between which that of a feature is looked for


@dataclass(frozen=True, eq=False)
class Counts:
    """likelihood, offset: as in `ProgramConfig`.  given: offsets (N,) of the items, where they are given."""

    likelihood: str
    offset: str = ""
    given: Array | None = None

    def config(self, x: Array, components: int, covariance: str = "") -> ProgramConfig:
        """The program for `x` (N, D)."""
        return ProgramConfig(
            x.shape[1],
            components,
            covariance=covariance,
            encoder="experts" if np.isnan(x).any() else "mlp",
            likelihood=self.likelihood,
            offset=self.offset,
        )

    def some(self, items: np.ndarray) -> Counts:
        """Those of some of the items."""
        given = None if self.given is None else self.given[items]
        return Counts(self.likelihood, self.offset, given)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """bound, error: (N, C), of every item under fits of the other parts, by C numbers of components."""

    bound: Array
    error: Array

    @property
    def mean_error(self) -> Array:
        """Of the means over items, (C,), by draws alone."""
        return np.asarray(np.sqrt(np.sum(self.error**2, axis=0)) / len(self.error))


def held_out_bounds(
    x: Array,
    components: Sequence[int],
    counts: Counts,
    backend: str,
    tell: Told = lambda text: None,
    steps: int = STEPS,
) -> HeldOut:
    """Of the items `x` (N, D), in FOLDS parts in their order, which is to be random."""
    found = HeldOut(*np.empty((2, len(x), len(components))))
    implementation = load_backend(backend)
    for fold in range(FOLDS):
        out = np.arange(len(x)) % FOLDS == fold
        train, known = x[~out], counts.some(~out)
        training = TrainingConfig(steps=steps, device="auto").for_items(len(train))
        for column, k in enumerate(components):
            tell(f"{counted(k, 'component')}, part {fold + 1} of {FOLDS}")
            program = make_program(train, counts.config(x, k), offsets=known.given)
            fit = implementation.fit(train, program, training, offsets=known.given)
            bound = bound_of(fit, x[out], counts.some(out))
            found.bound[out, column], found.error[out, column] = bound.value, bound.error
    return found


def bound_of(fit: Fit, x: Array, counts: Counts) -> EvidenceBound:
    """That of items `x` (N, D) under the fitted model, by WEIGHTED draws each, whatever the guide."""
    assert fit.program is not None
    offsets = fit.program.offsets_of(x, counts.given)
    model = fit.generalised
    return importance_bound(model, x, offsets, [laplace(model, x, offsets)], WEIGHTED)


def independent_counts(x: Array, counts: Counts) -> Array:
    """The exact log evidence (N,) of a model without components, each feature by itself, by other parts."""
    found, config = np.empty(len(x)), counts.config(x, 1)
    for fold in range(FOLDS):
        out = np.arange(len(x)) % FOLDS == fold
        train, test = x[~out], x[out]
        means = feature_means(train)
        of, to = (
            _logs(offsets_of(config, means, items, known.given), len(items))
            for items, known in ((train, counts.some(~out)), (test, counts.some(out)))
        )
        seen = ~np.isnan(train)
        if counts.likelihood == "bernoulli":
            level = scipy.special.logit(np.clip(means, 1e-6, 1 - 0.5 / np.maximum(seen.sum(0), 1)))
        else:
            exposure = np.exp(of).T @ seen
            level = np.log(means * seen.sum(axis=0) / exposure[0])
        shape = None
        if counts.likelihood == "negative-binomial":
            shape = np.array(
                [_concentration(train[:, d], level[d] + of[:, 0]) for d in range(len(level))]
            )
        density = log_density(counts.likelihood, np.nan_to_num(test), level + to, shape)
        found[out] = np.where(np.isnan(test), 0.0, density).sum(axis=1)
    return found


def _logs(offsets: Array | None, num_items: int) -> Array:
    return np.zeros((num_items, 1)) if offsets is None else np.log(offsets)[:, None]


def _concentration(x: Array, predictor: Array) -> float:
    """At maximum likelihood, of one feature (N,)."""
    seen = ~np.isnan(x)

    def lost(log: float) -> float:
        at = np.array(np.exp(log))
        return -float(log_density("negative-binomial", x[seen], predictor[seen], at).sum())

    bounds = tuple(np.log(CONCENTRATIONS))
    return float(np.exp(scipy.optimize.minimize_scalar(lost, bounds=bounds, method="bounded").x))
