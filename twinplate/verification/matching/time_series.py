"""Parameters that an autoguide keeps for a time series: one for each step, or one stack.

Over a loop `AutoNormal` has a location and a scale for each of `z_0 … z_T`; over a scan, of which `z` is
one stacked site, it has stacks of them, such as `z_auto_loc` of shape (T + 1, …).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from twinplate.records.record import Array, Parameter
from twinplate.verification.matching.parameters import autoguide_role, of_another_site
from twinplate.verification.matching.sites import SiteMatch


@dataclass(frozen=True)
class Stacks:
    """How the second program's parameters of a series are laid out as the first's.

    split: a stack's name → names for its steps.  joined: a name for a stack → the steps' names.
    """

    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def own_name(self, name: str) -> str:
        """What the second program calls a parameter, or the first step of it."""
        if name in self.joined:
            return self.joined[name][0]
        return next((stack for stack, steps in self.split.items() if name in steps), name)

    def to_first(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """Steps where the first program has steps, stacks where it has stacks."""
        laid_out = dict(parameters)
        for stack, steps in self.split.items():
            if stack in laid_out:
                laid_out |= _split(laid_out.pop(stack), steps)
        for stack, steps in self.joined.items():
            if all(step in laid_out for step in steps):
                laid_out[stack] = _joined([laid_out.pop(step) for step in steps])
        return laid_out

    def values_to_second(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The inverse of `to_first`, of values alone."""
        own = dict(values)
        for stack, steps in self.split.items():
            if all(step in own for step in steps):
                own[stack] = np.stack([own.pop(step) for step in steps])
        for stack, steps in self.joined.items():
            if stack in own:
                own |= dict(zip(steps, own.pop(stack), strict=True))
        return own


def find_stacks(matches: Iterable[SiteMatch], parameters: Mapping[str, Parameter]) -> Stacks:
    """The stacks among the second program's `parameters`; `matches` tell which sites are series."""
    split: dict[str, tuple[str, ...]] = {}
    joined: dict[str, tuple[str, ...]] = {}
    for match in matches:
        for name in parameters:
            if len(match.first) == len(match.second) or _site_of(name) != match.second[0]:
                continue
            if len(match.second) == 1:
                if parameters[name].value.shape[:1] == (len(match.first),):
                    split[name] = tuple(of_another_site(name, step) for step in match.first)
                continue
            steps = tuple(of_another_site(name, step) for step in match.second)
            shapes = {parameters[s].value.shape if s in parameters else None for s in steps}
            if len(shapes) == 1:
                joined[of_another_site(name, match.first[0])] = steps
    return Stacks(split, joined)


def _site_of(name: str) -> str:
    """The latent site that an autoguide's parameter belongs to, "" where it belongs to none."""
    return (autoguide_role(name) or ("", ""))[1]


def _split(stack: Parameter, steps: tuple[str, ...]) -> dict[str, Parameter]:
    gradients = [None] * len(steps) if stack.gradient is None else stack.gradient
    return {
        name: Parameter(stack.constraint, value, gradient)
        for name, value, gradient in zip(steps, stack.value, gradients, strict=True)
    }


def _joined(steps: list[Parameter]) -> Parameter:
    gradients = [p.gradient for p in steps if p.gradient is not None]
    gradient = np.stack(gradients) if len(gradients) == len(steps) else None
    return Parameter(steps[0].constraint, np.stack([p.value for p in steps]), gradient)
