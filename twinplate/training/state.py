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
    """Everything that the next step depends on. `fit` takes one as `state` and goes on from there.

    params: the parameters after the last step.  mean, variance: Adam's two moments of each.
    average: of the parameters of the steps so far, which is what a fit gives.  step: steps that are done.
    All four dictionaries are in the neutral layout of `twinplate.programs.parameters`.

    >>> import numpy as np
    >>> from twinplate import TrainingState
    >>> state = TrainingState.start({"raw_intercept": np.ones(2)})
    >>> state.step, state.mean["raw_intercept"]
    (0, array([0., 0.]))
    """

    params: Params
    mean: Params
    variance: Params
    average: Params
    step: int = 0

    @classmethod
    def start(cls, params: Params) -> TrainingState:
        """At step 0: moments of zero, and `params` themselves for an average."""
        mean, variance = ({n: np.zeros_like(v) for n, v in params.items()} for _ in range(2))
        return cls(params, mean, variance, {n: v.copy() for n, v in params.items()})


@dataclass(frozen=True)
class Fit:
    """A fitted program: where training ended, and how it went.

    state: after the last step.  losses: (steps,), of every step, in nats per item.
    compile_seconds: what compiling took; little where the compiled program was found on disk.

    >>> import numpy as np
    >>> from twinplate import Fit, TrainingState
    >>> fit = Fit(TrainingState.start({"raw_intercept": np.ones(2)}), losses=np.array([3.0, 2.5]))
    >>> fit.params
    {'raw_intercept': array([1., 1.])}
    """

    state: TrainingState
    losses: Array
    compile_seconds: float = 0.0

    @property
    def params(self) -> Params:
        """The fitted parameters in the neutral layout: `state.average`, no longer moved by single steps."""
        return self.state.average
