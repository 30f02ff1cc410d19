"""Steps that are taken again where they went wrong: kept since the last look, with what was before them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer.util import torch_item
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from pyro_impl.compiled.clipping import Clip
from pyro_impl.compiled.steps import TorchOptim
from twinplate.training.net import Attempt, Net, take
from twinplate.training.plan import CHUNK, Chunk
from twinplate.training.state import Limits

Call = tuple[tuple[Any, ...], dict[str, Any]]


class SteadySteps:
    """Steps of an SVI with a net beneath (`twinplate.training.net`).

    advance: takes a step and returns its loss.  clip: of the gradients, if any.

    Every CHUNK steps, and at a loss that is not finite, it judges the steps since the last look. Where they
    went wrong it goes back to the parameters, the optimisers and the random numbers before them and takes
    the same calls again, each moving the parameters half as far; so the arguments of CHUNK steps are kept.
    """

    def __init__(self, optim: PyroOptim, advance: Callable[..., Any], clip: Clip | None) -> None:
        self.net = Net(Limits())
        self._optim, self._advance, self._clip = optim, advance, clip
        self._done = 0
        self._calls: list[Call] = []
        self._losses: list[float] = []
        self._rewind: Callable[[], None] | None = None
        self._refusal: ValueError | None = None  # of the steps that are judged, by Pyro

    def goes_on_with(self, optim: PyroOptim) -> None:
        """Another optimiser takes the steps from now on, and those before count."""
        self._optim = optim
        self._calls, self._losses, self._rewind = [], [], None

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Take a step; its loss, as it counts in the end where the look comes with this step."""
        if not _leaves():  # the first step of all creates them
            return float(torch_item(self._advance(*args, **kwargs)))
        if not self._calls:
            self._rewind = self._rewinding()
        self._calls.append((args, kwargs))
        self._losses.append(self._take((args, kwargs), min(1.0, self.net.limits.rate)))
        if len(self._calls) == CHUNK or not math.isfinite(self._losses[-1]):
            return self._judged()
        return self._losses[-1]

    def _judged(self) -> float:
        """The last loss, once the steps since the last look count."""
        chunk = Chunk(
            self._done,
            np.zeros((len(self._calls), 0), np.int64),
            np.ones(len(self._calls)),
            {},
        )
        first = [self._losses]

        def attempt(part: Chunk) -> Attempt:
            losses = first.pop() if first else self._again(float(part.rates[0]))
            finite = all(bool(leaf.isfinite().all()) for leaf in _leaves())
            return Attempt(np.array(losses), finite and bool(np.isfinite(losses).all()))

        found = take(self.net, chunk, attempt)
        self._done += len(self._calls)
        self._calls, self._losses, self._rewind = [], [], None
        refusal, self._refusal = self._refusal, None
        if refusal is not None and not found.finite:
            raise refusal
        return float(found.losses[-1])

    def _again(self, share: float) -> list[float]:
        assert self._rewind is not None
        self._rewind()
        return [self._take(call, share) for call in self._calls]

    def _take(self, call: Call, share: float) -> float:
        """A step that moves the parameters by this share of the way on which the optimiser sends them."""
        before = [leaf.detach().clone() for leaf in _leaves()] if share < 1 else []
        try:
            loss = float(torch_item(self._advance(*call[0], **call[1])))
        except ValueError as error:
            # In its own steps Pyro checks arguments of distributions: what is NaN by now is an error there.
            if "invalid values" not in str(error):
                raise
            self._refusal = error
            return math.nan
        with torch.no_grad():
            for leaf, old in zip(_leaves() if before else [], before, strict=True):
                leaf.copy_(old + share * (leaf - old))
        return loss

    def _rewinding(self) -> Callable[[], None]:
        """A function that makes parameters, optimisers and random numbers what they are now."""
        tensors = [*_leaves(), *([] if self._clip is None else self._clip.numbers)]
        dictionaries = list(self._states())
        known = {id(leaf) for optimizer in self._optimizers() for leaf in optimizer.state}
        tensors += [v for d in dictionaries for v in d.values() if isinstance(v, Tensor)]
        contents = [tensor.detach().clone() for tensor in tensors]
        plain = [{k: v for k, v in d.items() if isinstance(v, int | float)} for d in dictionaries]
        drawn = torch.get_rng_state()
        drawn_on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

        def rewind() -> None:
            for optimizer in self._optimizers():
                for leaf in [one for one in optimizer.state if id(one) not in known]:
                    del optimizer.state[leaf]
            with torch.no_grad():
                for tensor, content in zip(tensors, contents, strict=True):
                    tensor.copy_(content)
            for dictionary, values in zip(dictionaries, plain, strict=True):
                dictionary.update(values)
            torch.set_rng_state(drawn)
            if drawn_on_gpu:
                torch.cuda.set_rng_state_all(drawn_on_gpu)

        return rewind

    def _states(self) -> Iterator[dict[str, Any]]:
        """What the optimisers keep and change: of each leaf its state, and the options of each group."""
        for optimizer in self._optimizers():
            yield from optimizer.state.values()
            yield from optimizer.param_groups

    def _optimizers(self) -> list[Optimizer]:
        if isinstance(self._optim, TorchOptim):
            return [self._optim.optimizer]
        found = self._optim.optim_objs.values()
        return [getattr(one, "optimizer", one) for one in found]  # a scheduler holds its optimiser


def _leaves() -> list[Tensor]:
    """All unconstrained parameters of Pyro's store."""
    return [leaf for _, leaf in pyro.get_param_store().named_parameters()]
