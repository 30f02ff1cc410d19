"""What both twins are told to do at each step of a training run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import fitting
from twinplate.programs.config import ESTIMATORS, ProgramConfig, TrainingConfig
from twinplate.programs.parameters import noise_shapes, prior_noise_shapes
from twinplate.seeds import base_noise_chunk, batch_indices
from twinplate.training.state import Array

CHUNK = 100  # steps between two looks at the loss; one compiled loop on JAX
CHUNK_BYTES = (
    2**27
)  # that the mini-batches and the noise of a chunk may take; more make for fewer steps
# The estimator "sticking-the-landing" begins after the fraction LANDING of all steps, and never before WARM
# of them: far from the exact posterior, where a fit starts, its gradients vary more than those of
# "base-noise".
LANDING = 0.8
WARM = 200

# The parameters of a fit are a running average of those of its steps (`average_weight`), which are taken in
# after the first step and after every AVERAGED-th from there. With this DECAY about the last fifth of a run
# counts.
AVERAGED = 5
DECAY = 4


@dataclass(frozen=True)
class Chunk:
    """Instructions for `len(rates)` consecutive steps.

    first: the number of the first one; that of a run's first step is 0.
    indices: (steps, B), items of each mini-batch.  rates: (steps,), learning rates.
    noise: base noise by site, (steps, P, ...); empty where a framework draws its own.
    estimator: of these steps, one of `twinplate.programs.config.ESTIMATORS`.
    x: (steps · B, D), the mini-batches one after the other, where the data are on disk; else None.
    a: (K, steps · B), the pairs of these items, where there are pairs too.
    """

    first: int
    indices: npt.NDArray[np.int64]
    rates: Array
    noise: dict[str, Array]
    estimator: str = ESTIMATORS[0]
    x: np.ndarray | None = None
    a: np.ndarray | None = None

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Rows of each mini-batch on the device, (steps, B): of `x` if the chunk has it, else of all data."""
        return self.places_of(slice(None))

    def places_of(self, share: slice) -> npt.NDArray[np.int64]:
        """The same of a part of each mini-batch, (steps, b); `x` and `a` then have the items of this part."""
        mine = self.indices[:, share]
        return mine if self.x is None else np.arange(mine.size).reshape(mine.shape)

    def head(self, length: int) -> Chunk:
        """The first `length` of these steps."""
        noise = {name: values[:length] for name, values in self.noise.items()}
        return replace(self, indices=self.indices[:length], rates=self.rates[:length], noise=noise)


def cosine(learning_rate: float, step: npt.ArrayLike, steps: int) -> Array:
    """Learning rate at `step` (0-based): ½ (1 + cos(π step / steps)) of the first."""
    return 0.5 * learning_rate * (1 + np.cos(np.pi * np.asarray(step) / steps))


def average_weight(step: Any) -> Any:
    """What the parameters after `step` steps (1, 2, …) weigh in the average as it takes them in.

    With that weight w it becomes (1 - w) · average + w · parameters. w is 0 after steps
    whose parameters are not taken in, and (η + 1) / (n + η) for the n-th that are: so the i-th counts as
    i^η in the end, polynomial-decay averaging (Shamir and Zhang 2013) with η = DECAY. Steps at a constant
    rate keep moving about an optimum, to which their average is closer than any of them (Polyak and
    Juditsky 1992; for variational inference Dhaka and others 2020).

    step: a number, or an array of either framework or NumPy; w is of the same kind.
    """
    taken = (step - 1) // AVERAGED
    return ((step - 1) % AVERAGED == 0) * ((DECAY + 1.0) / (taken + 1 + DECAY))


def chunks(
    program: ProgramConfig,
    training: TrainingConfig,
    num_items: int,
    matched: bool,
    first: int = 0,
    fits: int = 1,
) -> Iterator[Chunk]:
    """The instructions of a whole training run, from step `first` on.

    matched: whether the chunks bring base noise, the same in both twins.
    fits: runs whose chunks are held in memory at the same time; many make for shorter ones.
    """
    training = training.for_items(num_items)
    shapes = step_noise_shapes(program, training) if matched else {}
    most = chunk_length(program, training, matched, fits)
    for start, length, estimator in _spans(training, first, most):
        yield Chunk(
            start,
            batch_indices(training.seed, start, length, num_items, training.batch_size),
            cosine(training.learning_rate, np.arange(start, start + length), training.steps),
            base_noise_chunk(training.seed, start, length, shapes, training.particles),
            estimator,
        )


def step_noise_shapes(
    program: ProgramConfig, training: TrainingConfig
) -> dict[str, tuple[int, ...]]:
    """Shape of the base noise that one particle of a step takes at each site, by site name.

    The guide's for the objective "elbo", the model's for "simulated"; "pairs" draws nothing.
    """
    if training.objective == "elbo":
        return noise_shapes(program, training.batch_size)
    if training.objective == "simulated":
        return prior_noise_shapes(program, training.batch_size)
    return {}


def chunk_length(
    program: ProgramConfig, training: TrainingConfig, matched: bool, fits: int = 1
) -> int:
    """Steps of a chunk: CHUNK, or as many as bring CHUNK_BYTES of mini-batches and `matched` noise.

    A number counts 8 bytes: noise is made in double precision, and data on disk may be in it. Chunks of
    data in memory bring no mini-batches but are cut as if they did: torch's generator is seeded for every
    chunk, so other chunks would be other random numbers.
    """
    numbers = training.batch_size * program.num_features
    if matched:
        sizes = map(math.prod, step_noise_shapes(program, training).values())
        numbers += training.particles * sum(sizes)
    return fitting(8 * numbers * fits, CHUNK, CHUNK_BYTES)


def _spans(training: TrainingConfig, first: int, most: int) -> Iterator[tuple[int, int, str]]:
    """First step, number of steps and estimator of every chunk; no chunk has two estimators.

    Chunks end at multiples of `most`, wherever the first one begins: what starts anew in each, the random
    numbers of torch and what is known of usual gradients, then is the same in a run that goes on.
    """
    landing = training.steps
    early, late = training.estimator, training.estimator
    if training.estimator == "sticking-the-landing":
        early = ESTIMATORS[0]
        landing = min(max(math.ceil(LANDING * training.steps), WARM), training.steps)
    while first < training.steps:
        end = landing if first < landing else training.steps
        stop = min((first // most + 1) * most, end)
        yield first, stop - first, early if first < landing else late
        first = stop
