"""What training leaves behind, and what both twins are told to do at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinplate.blocks import fitting
from twinplate.config import ProgramConfig, TrainingConfig
from twinplate.errors import InputError
from twinplate.program import Params, noise_shapes, prior_noise_shapes
from twinplate.seeds import base_noise_chunk, batch_indices

Array = npt.NDArray[np.float64]

# Called after every chunk of steps with the number of steps done and the chunk's losses per item.
Progress = Callable[[int, Array], None]

CHUNK = 100  # steps between two looks at the loss; one compiled loop on JAX
CHUNK_BYTES = 2**28  # of the mini-batches of a chunk; large ones make for fewer steps


@dataclass(frozen=True)
class TrainingState:
    """Everything the next step depends on: parameters, Adam's two moments, the number of steps done.

    The three dictionaries are in the neutral layout of `twinplate.program`.
    """

    params: Params
    mean: Params
    variance: Params
    step: int = 0

    @classmethod
    def start(cls, params: Params) -> TrainingState:
        """Moments of zero at step 0."""
        zeros = {name: np.zeros_like(values) for name, values in params.items()}
        return cls(params, zeros, {name: z.copy() for name, z in zeros.items()})


@dataclass(frozen=True)
class Fit:
    """A fitted program: the state after the last step and the loss per item (nats) of every step."""

    state: TrainingState
    losses: Array

    @property
    def params(self) -> Params:
        """The fitted parameters, neutral layout."""
        return self.state.params


@dataclass(frozen=True)
class Chunk:
    """Instructions for `len(rates)` consecutive steps.

    indices (steps, B): items of each mini-batch.  rates (steps,): learning rates.
    noise: base noise by site, (steps, P, ...); empty when a framework draws its own.
    x (steps, B, D), a (steps, K, B): the mini-batches, when the data are on disk and not on the device.
    """

    first: int
    indices: npt.NDArray[np.int64]
    rates: Array
    noise: dict[str, Array]
    x: np.ndarray | None = None
    a: np.ndarray | None = None


def cosine(learning_rate: float, step: npt.ArrayLike, steps: int) -> Array:
    """Learning rate at `step` (0-based): ½ (1 + cos(π step / steps)) of the first."""
    return 0.5 * learning_rate * (1 + np.cos(np.pi * np.asarray(step) / steps))


def chunks(
    program: ProgramConfig,
    training: TrainingConfig,
    num_items: int,
    matched: bool,
    first: int = 0,
) -> Iterator[Chunk]:
    """The instructions of a whole training run, from step `first` on."""
    shapes = step_noise_shapes(program, training.objective, training.batch_size) if matched else {}
    most = fitting(4 * training.batch_size * program.num_features, CHUNK, CHUNK_BYTES)
    for start in range(first, training.steps, most):
        length = min(most, training.steps - start)
        yield Chunk(
            start,
            batch_indices(training.seed, start, length, num_items, training.batch_size),
            cosine(training.learning_rate, np.arange(start, start + length), training.steps),
            base_noise_chunk(training.seed, start, length, shapes, training.particles),
        )


def step_noise_shapes(
    program: ProgramConfig, objective: str, batch_size: int
) -> dict[str, tuple[int, ...]]:
    """Base noise that one particle of one step consumes at each site, by site name."""
    if objective == "elbo":
        return noise_shapes(program, batch_size)
    return prior_noise_shapes(program, batch_size) if objective == "simulated" else {}


def check_pairs(
    a: npt.ArrayLike | None, objective: str, num_components: int, num_items: int
) -> None:
    """Raise InputError unless `a` is (K, N) for the objective "pairs" and absent for the others."""
    if objective != "pairs":
        if a is not None:
            raise InputError(f"a is given with objective {objective!r}; expected objective 'pairs'")
        return
    expected = (num_components, num_items)
    if a is None or np.shape(a) != expected:
        given = "nothing" if a is None else f"shape {np.shape(a)}"
        raise InputError(
            f"objective 'pairs' got {given} for a; expected (num_components, num_items) = {expected}"
        )
