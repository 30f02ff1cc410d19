"""Where a training run stands, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinplate.programs.program import Params

Array = npt.NDArray[np.float64]

# Called after every chunk of steps with the number of steps done and the chunk's losses per item.
Progress = Callable[[int, Array], None]


@dataclass(frozen=True)
class TrainingState:
    """Everything the next step depends on: parameters, Adam's two moments, the number of steps done.

    average: of the parameters so far, weighted by `average_weight`: what a fit gives.
    The four dictionaries are in the neutral layout of `twinplate.programs.parameters`.
    """

    params: Params
    mean: Params
    variance: Params
    average: Params
    step: int = 0

    @classmethod
    def start(cls, params: Params) -> TrainingState:
        """Moments of zero at step 0, and nothing to average yet but the parameters themselves."""
        mean, variance = ({n: np.zeros_like(v) for n, v in params.items()} for _ in range(2))
        return cls(params, mean, variance, {n: v.copy() for n, v in params.items()})


@dataclass(frozen=True)
class Fit:
    """A fitted program: the state after the last step and the loss per item (nats) of every step.

    compile_seconds: what compiling took of the time, little where the compiled program was on disk.
    """

    state: TrainingState
    losses: Array
    compile_seconds: float = 0.0

    @property
    def params(self) -> Params:
        """The fitted parameters, neutral layout: the average over the steps."""
        return self.state.average
