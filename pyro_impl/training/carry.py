"""What the steps of training change and hand on, on the device: from a TrainingState and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_impl.compiled.clipping import Clip
from pyro_impl.device import to_tensor
from pyro_impl.programs.parameters import to_neutral
from pyro_impl.torch_private import each
from twinplate.programs.program import Params
from twinplate.training.state import Limits, TrainingState
from twinplate.training.step_size import CLIP, is_cut


@dataclass(eq=False)
class Carry:
    """What the steps hand on, all of it changed in place.

    leaves: the unconstrained parameters by neutral name.  optimizer: Adam over them, with its moments.
    average: of the parameters of the steps so far, by neutral name.  step: how many steps are done.
    clip: of the encoder's gradients, which starts from the moments in each chunk.
    """

    leaves: dict[str, Tensor]
    optimizer: torch.optim.Adam
    average: dict[str, Tensor]
    step: int
    clip: Clip

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]

    def start_clip(self) -> None:
        """From the moments, so that the state of a run need not hold what is usual."""
        state = self.optimizer.state
        variances = {leaf: state[leaf]["exp_avg_sq"] for leaf in self.leaves.values()}
        self.clip.follow_moments(variances, self.step)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors that a step changes: parameters, Adam's moments and counters, the average."""
        moments = [v for leaf in self.leaves.values() for v in self.optimizer.state[leaf].values()]
        return [*self.leaves.values(), *moments, *self.average.values()]

    def rewinding(self) -> Callable[[], None]:
        """A function that makes everything what it is now, whatever steps were taken meanwhile."""
        before, step = [tensor.detach().clone() for tensor in self.tensors], self.step

        def rewind() -> None:
            with torch.no_grad():
                for tensor, content in zip(self.tensors, before, strict=True):
                    tensor.copy_(content)
            self.step = step

        return rewind

    @torch.no_grad()
    def take_into_average(self, weight: float) -> None:
        """Move the average towards the parameters by `weight`, a fraction of the way."""
        params = [self.leaves[name] for name in self.average]
        each.lerp_(list(self.average.values()), params, weight)


def to_carry(
    state: TrainingState,
    leaves: dict[str, Tensor],
    shares: dict[str, float],
    dtype: torch.dtype,
    device: torch.device,
) -> Carry:
    """The state on the device. `leaves`, of Pyro's store, hold the values of its parameters already.

    shares: of the learning rate, for each parameter.
    """
    groups = [
        {"params": [leaf for name, leaf in leaves.items() if shares[name] == share], "share": share}
        for share in sorted(set(shares.values()))
    ]
    optimizer = torch.optim.Adam(groups)
    for name, leaf in leaves.items():
        optimizer.state[leaf] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": to_tensor(state.mean[name], dtype, device),
            "exp_avg_sq": to_tensor(state.variance[name], dtype, device),
        }
    average = {name: to_tensor(values, dtype, device) for name, values in state.average.items()}
    clip = Clip(CLIP, [leaf for name, leaf in leaves.items() if is_cut(name)])
    return Carry(leaves, optimizer, average, state.step, clip)


def to_state(carry: Carry, limits: Limits) -> TrainingState:
    """The inverse of `to_carry`, a copy on the host."""

    def moment(key: str) -> Params:
        state = carry.optimizer.state
        return to_neutral({name: state[leaf][key] for name, leaf in carry.leaves.items()})

    return TrainingState(
        to_neutral(carry.leaves),
        moment("exp_avg"),
        moment("exp_avg_sq"),
        to_neutral(carry.average),
        carry.step,
        limits,
    )
