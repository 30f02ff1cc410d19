"""`pyro.infer.SVI` with compiled steps.

The first step with arguments of some shape is an eager one: it creates parameters, prototypes, states
of the optimiser, which a graph can only update. The second is captured and compiled, and compared with an
eager one that starts from the same state and random numbers; so are the compiled steps 2, 4, 8, 16, …
Whatever a graph would freeze is looked at before each step. Where a program cannot be compiled, or stops
being what was compiled, it runs eagerly and an EagerWarning says why.

This file decides which step is taken; `building` makes one, `cross_check` compares it with an eager one.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.infer.util import torch_item, zero_grads
from pyro.poutine.runtime import _PYRO_STACK
from pyro.util import warn_if_nan
from torch import Tensor
from torch.optim import Optimizer

from pyro_impl.compiled.agreement import same_draws
from pyro_impl.compiled.building import build_step
from pyro_impl.compiled.cache_key import describe, surroundings
from pyro_impl.compiled.clipping import Clip
from pyro_impl.compiled.cross_check import gradients_twice, whole_step_twice
from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.guards import Guards
from pyro_impl.compiled.steadied import SteadySteps
from pyro_impl.compiled.steps import Parameters, Step, TorchOptim, gradient_of, leaves_of
from pyro_impl.objectives.loss_faults import FAULTY, faults_of, kept_traces
from pyro_impl.objectives.sticking_the_landing import StickingTheLandingELBO
from twinplate.loss_faults import WrongLossWarning
from twinplate.user_code import warn_user

LOSSES = (Trace_ELBO, TraceMeanField_ELBO, StickingTheLandingELBO)
MOST_SHAPES = 16  # of arguments; a graph for each costs seconds
MOST_CHANGES = 8  # of what a program reads besides


class EagerWarning(UserWarning):
    """A program, or some of its steps, runs eagerly; the message says why.

    >>> import warnings
    >>> import pyro
    >>> from pyro.infer import RenyiELBO
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", EagerWarning)  # rather stop than run eagerly
    ...     svi = CompiledSVI(print, print, pyro.optim.Adam({"lr": 0.01}), RenyiELBO())
    Traceback (most recent call last):
        ...
    pyro_impl.compiled.svi.EagerWarning: CompiledSVI runs eagerly: RenyiELBO is not one of the losses ...
    """


class CompiledSVI(SVI):
    """`pyro.infer.SVI` for the same models, guides and losses, its steps compiled.

    optim: one of `pyro.optim`, or a torch optimiser that holds the parameters. With Adam and ClippedAdam
        the whole step is one graph; with others loss and gradients are.
    loss: Trace_ELBO, TraceMeanField_ELBO or StickingTheLandingELBO; or a function of model, guide and their
        arguments that returns a differentiable scalar. Other losses run eagerly, with an EagerWarning.
    clip: times its usual size that the gradient of a parameter may have; None leaves all as they are.
    net: whether `step` takes steps again, each at half the rate, that went wrong: of which a loss is not
        finite, or whose last losses are far above those before (`pyro_impl.compiled.steadied`).

    Arguments of a step are trees of tensors and plain values. Raises InputError for a torch optimiser that
    lacks parameters of the program, or is LBFGS. The first step warns, by a WrongLossWarning, of a loss that
    Pyro gets wrong for such a program.

    compile_seconds: spent so far on tracing and compiling.

    >>> import pyro
    >>> import pyro.distributions as dist
    >>> from pyro.infer.autoguide import AutoNormal
    >>> def model(y):
    ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    ...     with pyro.plate("items", len(y)):
    ...         pyro.sample("y", dist.Normal(mean, 1.0), obs=y)
    >>> svi = CompiledSVI(model, AutoNormal(model), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    >>> loss = svi.step(torch.ones(5))  # eager; from the second step of this shape on, compiled
    >>> loss > 0, svi.compile_seconds
    (True, 0.0)
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        optim: Any,
        loss: Any,
        loss_and_grads: Any = None,
        clip: float | None = None,
        net: bool = False,
        **kwargs: Any,
    ) -> None:
        wrapped = TorchOptim(optim) if isinstance(optim, Optimizer) else optim
        super().__init__(model, guide, wrapped, loss, loss_and_grads, **kwargs)
        self._objective = loss.differentiable_loss if type(loss) in LOSSES else loss
        self._roots = (model, guide, loss)
        self._guards: Guards | None = None
        # By what `describe` says of the arguments: what an eager step trained, and the compiled steps.
        self._seen: dict[Any, Parameters] = {}
        self._steps: dict[Any, Step] = {}
        self._last: Step | None = None  # that took the last step; None after an eager one
        self._changes = 0
        self._eager = False
        self._told: set[str] = set()
        self._ready: Parameters | None = None
        self._unclipped = self.loss_and_grads
        self._clip: Clip | None = None
        if clip is not None:
            self._clip_by(Clip(clip))
        self._steady = SteadySteps(self.optim, self.advance, self._clip) if net else None
        self.compile_seconds = 0.0
        if isinstance(loss, ELBO) and type(loss) not in LOSSES:
            self._stay_eager(f"{type(loss).__name__} is not one of the losses that are compiled")
        elif loss_and_grads is not None and type(loss) not in LOSSES:
            self._stay_eager("`loss_and_grads` computes the gradients itself; leave it out")
        if isinstance(loss, tuple(FAULTY)) and loss_and_grads is None:
            self._warn_of_faults(loss)

    def prepared(self, parameters: dict[str, Tensor], clip: Clip) -> CompiledSVI:
        """With leaves that exist, by name in Pyro's store, and an optimiser that has a state for each.

        clip: of their gradients.

        The first step is then a compiled one, and the result does not depend on where a run was resumed.
        """
        for (
            leaf
        ) in parameters.values():  # a gradient marks what is trained, as an eager step leaves it
            leaf.grad = torch.zeros_like(leaf)
        self._ready = Parameters(list(parameters.values()), dict(parameters))
        self._clip_by(clip)
        return self

    def _clip_by(self, clip: Clip) -> None:
        self._clip, self.loss_and_grads = clip, self._loss_and_clipped_grads

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step; its loss, or as many as `loss` returns."""
        if self._steady is not None:
            loss: Any = self._steady.step(*args, **kwargs)
        else:
            loss = self.advance(*args, **kwargs)
        if isinstance(loss, tuple):  # ReweightedWakeSleep's, of model and guide
            return loss
        loss = torch_item(loss)
        warn_if_nan(loss, "loss")
        return loss

    @property
    def notes(self) -> list[str]:
        """Sentences on what the net did."""
        return [] if self._steady is None else self._steady.net.notes

    def advance(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step; its loss, as a tensor that need not be waited for where the step is compiled."""
        if self._eager:
            return super().step(*args, **kwargs)
        tensors: list[Tensor] = []
        try:
            # A handler outside of the step is not in the graph, and its own bookkeeping would miss the sites.
            if _PYRO_STACK:
                raise CannotCompileError("they are taken inside an effect handler")
            key = describe(args, tensors), describe(kwargs, tensors), surroundings()
        except CannotCompileError as error:
            self._last = None
            self._tell(f"such steps eagerly: {error}")
            return super().step(*args, **kwargs)
        try:
            step = self._step(key, args, kwargs, tensors)
        except CannotCompileError as error:
            self._stay_eager(str(error))
            return super().step(*args, **kwargs)
        if step is None:
            return self._take_eagerly(key, args, kwargs)
        # Compared at the first, second, fourth, eighth, …: n steps cost log₂ n eager ones besides, and what
        # no guard sees is found before it was wrong for more steps than it was right.
        if step.taken & (step.taken + 1):
            self._last = step
            loss = step.take(tensors, self.optim)
        else:
            loss = self._take_twice(step, tensors, args, kwargs)
        step.taken += 1
        return loss

    # --- which step -------------------------------------------------------------------------------

    def _step(self, key: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Step | None:
        """The compiled step for these arguments; None where an eager one comes first."""
        change = None if self._guards is None else self._guards.change()
        step = self._steps.get(key)
        if change is None and step is not None:
            change = self._outdated(step)
        if change is not None:
            self._forget(change)
        elif step is not None:
            return step
        elif (parameters := self._seen.get(key, self._ready)) is not None:
            if parameters is self._ready:
                # No eager step came before: what a program caches in its first run must hold real numbers.
                with same_draws():
                    self._unclipped(self.model, self.guide, *args, **kwargs)
                zero_grads(parameters.leaves)
            started = time.perf_counter()
            guards = self._guards or Guards(*self._roots)
            loss = partial(self._objective, self.model, self.guide)
            self._steps[key] = build_step(
                loss, (args, kwargs), tensors, parameters, self.optim, guards, self._clip
            )
            self._guards = guards
            self.compile_seconds += time.perf_counter() - started
            return self._steps[key]
        return None

    def _outdated(self, step: Step) -> str | None:
        """What the graph of this step holds and is no longer so, in words."""
        if (name := step.parameters.missing()) is not None:
            return f"the parameter {name!r} in Pyro's store"
        if step.is_frozen_otherwise():
            return "which parameters are frozen"
        if step.update is not None and not step.update.is_current(self._last is not step):
            return "the state or the options of the optimiser"
        return None

    def _forget(self, change: str) -> None:
        """All graphs; raises CannotCompileError where that happens over and over."""
        self._guards, self._last, self._ready = None, None, None
        self._seen.clear()
        self._steps.clear()
        self._changes += 1
        if self._changes == MOST_CHANGES:
            raise CannotCompileError(
                f"what it reads changed {MOST_CHANGES} times, last {change}; give it as an argument of the "
                "step, a number as a tensor"
            )

    def _stay_eager(self, reason: str) -> None:
        self._eager = True
        self._guards, self._last = None, None
        self._steps.clear()
        self._tell(f"eagerly: {reason}")

    def _tell(self, what: str) -> None:
        self._warn(f"CompiledSVI runs {what}", EagerWarning)

    def _warn(self, message: str, category: type[Warning]) -> None:
        """Once, at the user's line."""
        if message not in self._told:
            self._told.add(message)
            warn_user(message, category)

    def _warn_of_faults(self, elbo: Any) -> None:
        """Have the first eager loss, which comes before everything else, show its traces."""
        take = self.loss_and_grads

        def first(*args: Any, **kwargs: Any) -> Any:
            self.loss_and_grads = take
            with kept_traces(elbo) as traces:
                loss = take(*args, **kwargs)
            for fault in faults_of(elbo, *traces[0]):
                self._warn(fault, WrongLossWarning)
            return loss

        self.loss_and_grads = first

    def _loss_and_clipped_grads(self, *args: Any, **kwargs: Any) -> Any:
        """As Pyro has it, with the gradients that it leaves in the leaves cut."""
        with poutine.trace(param_only=True) as found:
            loss = self._unclipped(*args, **kwargs)
        trained = [leaf for leaf in leaves_of(found.trace) if leaf.grad is not None]
        assert self._clip is not None
        clipped = self._clip.clipped(trained, [gradient_of(leaf) for leaf in trained])
        for leaf, gradient in zip(trained, clipped, strict=True):
            leaf.grad = gradient
        return loss

    def _take_eagerly(self, key: Any, args: Any, kwargs: Any) -> float:
        """The first step of its kind, which shows the parameters."""
        self._last = None
        with poutine.trace(param_only=True) as found:
            loss = super().step(*args, **kwargs)
        if key not in self._seen and len(self._seen) == MOST_SHAPES:
            self._tell(
                f"further steps eagerly: {MOST_SHAPES} different shapes or values of the arguments came "
                "before; pad what differs in length to a few lengths, and give numbers that change as tensors"
            )
        if len(self._seen) < MOST_SHAPES:
            self._seen[key] = Parameters.of(found.trace, self.optim)
        return loss

    def _take_twice(self, step: Step, tensors: list[Tensor], args: Any, kwargs: Any) -> Any:
        """Eagerly, then compiled from the same state; the eager one counts if they differ."""
        self._last = None  # until both are taken
        if step.update is not None:
            eager = partial(super().step, *args, **kwargs)
            loss, differs = whole_step_twice(step, tensors, self.optim, eager)
        else:
            eager = partial(self.loss_and_grads, self.model, self.guide, *args, **kwargs)
            loss, differs = gradients_twice(step, tensors, self.optim, eager)
        if differs is None:
            self._last = step
            return loss
        since = (
            f"they agreed {(step.taken + 1) // 2} steps before: those since may have been wrong, and "
            "earlier ones by less than is seen"
            if step.taken
            else "no step was taken with it"
        )
        self._stay_eager(
            f"{differs}, so the program depends on something that cannot be seen, or on rounding; {since}"
        )
        return torch_item(loss)
