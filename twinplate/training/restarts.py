"""Several fits of one program, by seed and learning rate: which is best, which diverged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import fitting, gather
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.programs.linear_gaussian import MATRIX_BYTES, Gaussian
from twinplate.programs.parameters import linear_gaussian_of
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.training.errors import is_finite
from twinplate.training.state import LAST, Array, Fit
from twinplate.words import counted

WINDOW = LAST  # the last steps, whose mean loss ranks the fits
MARGIN = 1.0  # nats per item above the exact log evidence: nothing valid is
JUDGED = 4096  # items at most on which a fit is held against the exact answer, fewer for a large K

Posterior = Callable[[Array, ReferenceProgram, Params], Gaussian]


@dataclass(frozen=True)
class Ranked:
    """R fits and how each of them went.

    losses: (R, steps), NaN from where a fit could not go on.  diverged: (R,), whether a fit is of no use.
    """

    losses: Array
    diverged: npt.NDArray[np.bool_]

    @property
    def divergence_rate(self) -> float:
        """The fraction of the fits that diverged."""
        return float(self.diverged.mean())

    @property
    def last_losses(self) -> Array:
        """Mean loss of the last steps of every fit, (R,); infinite where it diverged."""
        return np.where(self.diverged, np.inf, [_last_loss(row) for row in self.losses])

    @property
    def best(self) -> int:
        """The fit with the lowest mean loss over the last steps. Raises InputError if all diverged."""
        if self.diverged.all():
            fits = f"all {len(self.losses)} fits" if len(self.losses) > 1 else "the only fit"
            raise InputError(
                f"{fits} diverged; expected one that did not: try lower learning rates, "
                "or precision 'float64'"
            )
        return int(np.argmin(self.last_losses))


def _last_loss(losses: Array) -> float:
    taken = losses[np.isfinite(losses)]  # all but those that an interrupted fit did not come to
    return float(taken[-WINDOW:].mean()) if len(taken) else np.inf


@dataclass(frozen=True, repr=False)
class Restarts(Ranked):
    """R fits of one program, as `fit_many` makes them.

    trainings: of each fit, with its seed and learning rate.  fits: in the same order.
    losses: (R, steps), per item; of fits that go on from states, those of the further steps. A fit that
        meets a number that is not finite ends before the chunk of steps in which it met it: so do its state
        and its losses, and the rest of its row is NaN.
    diverged: (R,), true for such a fit, and for one whose ELBO is higher than any guide's can be
        (`twinplate.training.restarts.diverges`).
    compile_seconds: of all fits together.

    >>> import numpy as np
    >>> from twinplate import Fit, Restarts, TrainingConfig, TrainingState
    >>> losses = np.array([[3.0, 2.5], [3.0, 2.0], [4.0, np.nan]])
    >>> trainings = tuple(TrainingConfig(steps=2, seed=seed) for seed in range(3))
    >>> fits = tuple(Fit(TrainingState.start({}), row) for row in losses)
    >>> many = Restarts(losses, np.array([False, False, True]), trainings, fits)
    >>> many.best, many.trainings[many.best].seed
    (1, 1)
    """

    trainings: tuple[TrainingConfig, ...]
    fits: tuple[Fit, ...]
    compile_seconds: float = 0.0

    def __repr__(self) -> str:
        text = f"Restarts of {counted(len(self.fits), 'fit')}, {int(self.diverged.sum())} diverged"
        if self.diverged.all():
            return text
        best = self.trainings[self.best]
        loss = self.last_losses[self.best]
        return f"{text}; best loss {loss:.4g}, of seed {best.seed} and learning rate {best.learning_rate:g}"

    @property
    def best_fit(self) -> Fit:
        """`fits[best]`."""
        return self.fits[self.best]


def restart_configs(
    training: TrainingConfig, seeds: Sequence[int], learning_rates: Sequence[float] | None
) -> tuple[TrainingConfig, ...]:
    """Every learning rate with every seed; without rates that of `training`. Raises InputError if empty."""
    for name, given in (("seeds", seeds), ("learning_rates", learning_rates)):
        if isinstance(given, (str, bytes)) or not (given is None or isinstance(given, Sized)):
            raise InputError(f"{name} is {given!r}; expected numbers in a tuple, such as (0, 1, 2)")
    rates = [training.learning_rate] if learning_rates is None else list(learning_rates)
    if not len(seeds) or not rates:
        raise InputError(
            f"{counted(len(seeds), 'seed')} and {counted(len(rates), 'learning rate')} are given; "
            "expected one of each or more"
        )
    return tuple(
        replace(training, learning_rate=float(rate), seed=seed)
        for rate, seed in product(rates, seeds)
    )


def make_restarts(
    x: Matrix,
    program: ReferenceProgram,
    trainings: tuple[TrainingConfig, ...],
    fits: Sequence[Fit],
    posterior: Posterior,
    compile_seconds: float,
    *,
    steps: int,
    broken: Iterable[bool],
) -> Restarts:
    """The fits, with what became of each.

    posterior: that of the twin.
    steps: that they were to take, or have taken.  broken: which of them met a number that is not finite.
    """
    losses = np.full((len(fits), steps), np.nan)
    for row, fit in zip(losses, fits, strict=True):
        row[: len(fit.losses)] = fit.losses
    most = fitting(8 * program.config.num_components**2, JUDGED, MATRIX_BYTES)
    judged = gather(x, np.arange(0, len(x), -(-len(x) // most)))
    diverged = [
        bool(broke) or diverges(judged, program, training, fit, posterior)
        for training, fit, broke in zip(trainings, fits, broken, strict=True)
    ]
    return Restarts(losses, np.array(diverged), trainings, tuple(fits), compile_seconds)


def diverges(
    x: Array, program: ReferenceProgram, training: TrainingConfig, fit: Fit, posterior: Posterior
) -> bool:
    """Whether a fit is of no use, by two signs.

    The first is a parameter that is not finite. The second is an ELBO that exceeds the exact log evidence
    of the fitted model by more than MARGIN: the guide's exact expected ELBO, or for the objective "elbo"
    the one that the last losses report. It needs closed forms, so with an amplitude only the first counts.
    """
    if not is_finite(fit.state):
        return True
    if program.config.amplitude_scale is not None or program.config.likelihood != "normal":
        return False
    try:  # finite numbers, but perhaps none that a distribution can be made of
        with np.errstate(all="ignore"):
            generative = linear_gaussian_of(program, fit.params)
            guide = posterior(x, program, fit.params)
            missed = float(generative.kl_to_posterior(x, guide).mean())
            evidence = float(generative.log_evidence(x).mean())
    except (InputError, np.linalg.LinAlgError):
        return True
    if not missed > -MARGIN:
        return True
    is_bound = training.objective == "elbo" and len(fit.losses) > 0
    reported = -float(fit.losses[-WINDOW:].mean()) if is_bound else -np.inf
    return not reported - evidence <= MARGIN
