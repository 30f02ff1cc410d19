"""Where a training run stands, and what it leaves behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import generative_of
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.words import counted

Array = npt.NDArray[np.float64]

LAST = 100  # steps whose mean loss stands for the end of a run

# Called after every chunk of steps with the number of steps done and the chunk's losses per item.
Progress = Callable[[int, Array], None]


@dataclass(frozen=True)
class Limits:
    """What the steps of a run are held to, once it has begun (`twinplate.training.net`).

    rate: the highest learning rate that a step has; infinite until a chunk of steps went wrong.
    loss: per item, above which the end of the next chunk has gone wrong; infinite at the start of a run.
    """

    rate: float = math.inf
    loss: float = math.inf

    def as_dict(self) -> dict[str, float]:
        """Those that are finite, for a file; `Limits(**...)` reads them again."""
        return {name: value for name, value in asdict(self).items() if math.isfinite(value)}


@dataclass(frozen=True, repr=False)
class TrainingState:
    """Everything that the next step depends on. `fit` takes one as `state` and goes on from there.

    params: the parameters after the last step.  mean, variance: Adam's two moments of each.
    average: of the parameters of the steps so far, which is what a fit gives.  step: steps that are done.
    limits: of the learning rate and the loss.
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
    limits: Limits = Limits()

    def __repr__(self) -> str:
        numbers = sum(np.size(values) for values in self.params.values())
        arrays = counted(len(self.params), "array")
        return f"TrainingState(step={self.step}, {arrays} of {counted(numbers, 'parameter')})"

    @classmethod
    def start(cls, params: Params) -> TrainingState:
        """At step 0: moments of zero, and `params` themselves for an average."""
        mean, variance = ({n: np.zeros_like(v) for n, v in params.items()} for _ in range(2))
        return cls(params, mean, variance, {n: v.copy() for n, v in params.items()})


@dataclass(frozen=True, repr=False)
class Fit:
    """A fitted program: where training ended, and how it went.

    state: after the last step.  losses: (steps,), of every step, in nats per item.
    compile_seconds: what compiling took; little where the compiled program was found on disk.
    program: what was fitted; it makes numbers in the units of the data of the parameters.
    notes: what was done where training would have gone astray; empty for most fits.

    >>> import numpy as np
    >>> from twinplate import Fit, TrainingState
    >>> fit = Fit(TrainingState.start({"raw_intercept": np.ones(2)}), losses=np.array([3.0, 2.5]))
    >>> fit.params
    {'raw_intercept': array([1., 1.])}
    """

    state: TrainingState
    losses: Array
    compile_seconds: float = 0.0
    program: ReferenceProgram | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [f"Fit of {counted(self.state.step, 'step')}: {_course(self.losses)}"]
        if self.program is not None:
            d, k = self.program.start.loadings.shape
            learned = ", ".join(self.program.learned) or "nothing but the guide"
            lines.append(
                f"loadings ({d}, {k}), intercept ({d},), noise_scale ({d},); learned: {learned}"
            )
        lines += [repr(self.state), *self.notes]
        return "\n".join(lines)

    @property
    def generative(self) -> LinearGaussian:
        """The fitted generative model in the units of the data; what was not learned is as it was given.

        Raises InputError where `program` is not known.
        """
        if self.program is None:
            raise InputError("this fit does not say of which program; expected what `fit` returns")
        return generative_of(self.program, self.params)

    @property
    def loadings(self) -> Array:
        """Those of `generative`, (D, K)."""
        return self.generative.loadings

    @property
    def intercept(self) -> Array:
        """That of `generative`, (D,)."""
        return self.generative.intercept

    @property
    def noise_scale(self) -> Array:
        """That of `generative`, (D,), standard deviations."""
        return self.generative.noise_scale

    @property
    def params(self) -> Params:
        """The fitted parameters in the neutral layout: `state.average`, no longer moved by single steps."""
        return self.state.average


def _course(losses: Array) -> str:
    if not len(losses):
        return "no loss"
    last = losses[-LAST:]
    over = f", mean of the last {len(last)}" if len(losses) > LAST else ""
    return f"loss {losses[0]:.4g} at first, {last.mean() if over else last[-1]:.4g} at last{over}"
