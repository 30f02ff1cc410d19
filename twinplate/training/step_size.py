"""How far a step of training may go: rates of single tensors, and gradients far from their usual size.

Two measures against one failure. Adam divides by the root mean square of past gradients; once all has been
quiet for a while that is small, and the gradient of one rare item moves every weight of a layer by many
times the learning rate. A weight matters the more the more inputs are added to it, so the rate of a weight
falls with the number of its inputs; and no gradient of the encoder's is more than CLIP times as large as it
usually is.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinplate.programs.config import ProgramConfig
from twinplate.programs.parameters import param_shapes
from twinplate.programs.program import ReferenceProgram

# Adam moves each weight by about its rate, so what a unit puts out moves by the rate times the number of its
# inputs: with many of them the rate is FAN_IN / inputs of the learning rate (Yang and others, *Tensor
# programs V*, 2022, table 3, Adam's rate for hidden weights).
FAN_IN = 128
CLIP = 5.0  # times its usual size that the gradient of a tensor may have
MEMORY = 0.999  # of the running mean of squared norms that is the usual size: Adam's β₂
SETTLED = 20  # steps after which a size is known well enough to be spoken of
NOTED = 2 * CLIP  # times its usual size from which on a gradient is told


def rate_shares(program: ReferenceProgram) -> dict[str, float]:
    """The part of the learning rate that each parameter has, by neutral name: 1, or FAN_IN / inputs.

    >>> import numpy as np
    >>> from twinplate import ProgramConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> shares = rate_shares(make_program(x, ProgramConfig(3, 2, hidden_width=256)))
    >>> shares["encoder.hidden1.weight"], shares["encoder.hidden2.weight"], shares["raw_loadings"]
    (1.0, 0.5, 1.0)
    """
    inputs = _inputs(program.config)
    return {name: min(1.0, FAN_IN / inputs.get(name, 1)) for name in param_shapes(program)}


def is_cut(name: str) -> bool:
    """Whether gradients of the parameter of this neutral name are cut: those of the encoder.

    Those of loadings, intercept and noise must stay what they are. At the maximum of the likelihood they add
    up to zero over all items; with that of a rare far item cut, steps would leave the maximum for the fit of
    the other items.

    >>> is_cut("encoder.out.weight"), is_cut("raw_loadings")
    (True, False)
    """
    return name.startswith("encoder.")


def _inputs(config: ProgramConfig) -> dict[str, int]:
    """Inputs of the encoder's weights: a feature or else its missing indicator is one."""
    d, e, h = config.num_features, config.row_size, config.hidden_width
    of = {"hidden1.weight": e, "hidden2.weight": h, "out.weight": h, "skip.weight": e, "experts": d}
    return {f"encoder.{name}": inputs for name, inputs in of.items()}


@dataclass(frozen=True)
class Burst:
    """The largest gradient of some steps, beside what is usual.

    name: of the tensor.  times: how many times its usual size.  step: the number of the step.
    """

    name: str
    times: float
    step: int

    @property
    def is_noted(self) -> bool:
        """Whether it is worth a word."""
        return self.times > NOTED

    def __str__(self) -> str:
        times = f"{self.times:.0f}" if self.times < 1e6 else f"{self.times:.1e}"
        return (
            f"at step {self.step} the gradient of {self.name} was {times} times its usual size; it "
            f"was cut to {CLIP:g} times, as others are that come near"
        )
