"""`pyro.infer.SVI` without Pyro in most of its steps.

The first step with arguments of some shape is Pyro's: it creates parameters, prototypes, states of the
optimiser. The second is Pyro's too, and its operations are recorded. Later ones replay the record, on the
numbers of then: the result is the same to the bit, which the replayed steps 1, 2, 4, 8, … are compared for.
Whatever the record would freeze is looked at before each step. Where a program cannot be recorded, or stops
being what was recorded, Pyro takes the steps and an EagerWarning says why.

This file decides which step is taken; `building` records one, `cross_check` compares it with Pyro's.
"""

from __future__ import annotations

import time
from functools import partial
from operator import is_
from typing import Any

from pyro import poutine
from pyro.infer import SVI
from pyro.infer.util import torch_item, zero_grads
from pyro.poutine.runtime import _PYRO_STACK
from pyro.util import warn_if_nan
from torch import Tensor
from torch.distributed import ProcessGroup

from pyro_impl.compiled.agreement import rewinding
from pyro_impl.compiled.building import Recording, record
from pyro_impl.compiled.cache_key import describe, surroundings
from pyro_impl.compiled.clipping import Clip
from pyro_impl.compiled.cross_check import taken_twice
from pyro_impl.compiled.differentiating import Differentiation
from pyro_impl.compiled.errors import CannotCompileError, NotReplayedError
from pyro_impl.compiled.guards import Guards
from pyro_impl.compiled.reducing import Reduction
from pyro_impl.compiled.replaying import is_nan
from pyro_impl.compiled.steadied import SteadySteps
from pyro_impl.compiled.steps import CompiledStep, Parameters, Step, to_pyros
from pyro_impl.compiled.switching import Switch
from pyro_impl.compiled.telling import Telling
from pyro_impl.torch_private import has_gradient_hooks

MOST_SHAPES = 16  # of arguments
MOST_CHANGES = 8  # of what a program reads besides, or of what Python learns of its tensors


class CompiledSVI(SVI):
    """`pyro.infer.SVI` for the same models, guides and losses; its steps are replayed, or machine code.

    optim: one of `pyro.optim`, or a torch optimiser that holds the parameters. Adam and ClippedAdam move all
        parameters at once; others take their own step.
    loss: any of Pyro's, or a function of model, guide and their arguments that returns a differentiable
        scalar.
    loss_and_grads: as for `pyro.infer.SVI`.
    clip: times its usual size that the gradient of a parameter may have; None leaves all as they are.
    net: whether `step` takes steps again, each at half the rate, that went wrong: of which a loss is not
        finite, or whose last losses are far above those before (`pyro_impl.compiled.steadied`).
    group: processes of `torch.distributed` that take every step together, each on arguments of its own: the
        loss is the mean of theirs, and so is each gradient (docs/scaling.md).
    machine_code: the number of the step from which on steps are machine code, counted from 1, or True for the
        first possible one. A process of its own compiles the recorded step meanwhile, which takes seconds to
        minutes; where it is not done by then, `step` waits. Results differ by rounding from then on. By
        default there is none, and losses and parameters are those of `SVI` to the bit.

    Arguments of a step are trees of tensors, arrays, plain values, modules and functions. Raises InputError
    for a torch optimiser that lacks parameters of the program, or is LBFGS, and for a `machine_code` that is
    no such number. The first step warns, by a WrongLossWarning, of a loss that Pyro gets wrong for such a
    program.

    number: of the last step.

    >>> import pyro
    >>> import pyro.distributions as dist
    >>> import torch
    >>> from pyro.infer import Trace_ELBO
    >>> from pyro.infer.autoguide import AutoNormal
    >>> def model(y):
    ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    ...     with pyro.plate("items", len(y)):
    ...         pyro.sample("y", dist.Normal(mean, 1.0), obs=y)
    >>> svi = CompiledSVI(model, AutoNormal(model), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    >>> loss = svi.step(torch.ones(5))  # Pyro's; so is the second of this shape, and from then on replays
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
        machine_code: bool | int = False,
        group: ProcessGroup | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, guide, to_pyros(optim), loss, loss_and_grads, **kwargs)
        self._roots: tuple[Any, ...] = (model, guide, loss, loss_and_grads)
        self._telling = Telling(loss, is_own=loss_and_grads is not None)
        self._switch = Switch(machine_code, self._telling)
        self.number = 0
        self._eager = False
        self._changes = 0
        self._recording_seconds = 0.0
        self._begin()
        self._first_half = Differentiation(self.loss_and_grads)
        reduction = None if group is None else Reduction(group)
        self._complete_by(None if clip is None else Clip(clip), reduction)
        self._steady = SteadySteps(self.optim, self.advance, self._first_half.clip) if net else None

    def _begin(self) -> None:
        """Without any record."""
        self._ready: Parameters | None = None
        self._guards: Guards | None = None
        self._objects: list[Any] = []  # among the arguments, of which the guards know
        # By what `describe` says of the arguments: what an eager step trained, and the steps that it may be.
        self._seen: dict[Any, Parameters] = {}
        self._steps: dict[Any, list[Step]] = {}
        self._last: Step | None = None  # that took the last step; None after one of Pyro's

    def __getstate__(self) -> dict[str, Any]:
        """All that `pyro.infer.SVI` has; a copy records its own steps."""
        records = ("_guards", "_objects", "_seen", "_steps", "_last", "_ready")
        return {name: value for name, value in vars(self).items() if name not in records}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def prepared(
        self, parameters: dict[str, Tensor], clip: Clip, reduction: Reduction | None = None
    ) -> CompiledSVI:
        """With leaves that exist, by name in Pyro's store, and an optimiser that has a state for each.

        clip, reduction: of their gradients.

        The first step is then recorded.
        """
        # A gradient marks what is trained, as an eager step leaves it.
        for leaf in parameters.values():
            leaf.grad = leaf.detach().new_zeros(leaf.shape)
        self._ready = Parameters(list(parameters.values()), dict(parameters))
        self._complete_by(clip, reduction)
        return self

    def _complete_by(self, clip: Clip | None, reduction: Reduction | None) -> None:
        self._first_half = Differentiation(self._first_half.plain, clip, reduction)
        self.loss_and_grads = self._first_half
        self._program = self.model, self.guide, self.loss_and_grads, self.optim

    def _look_at_itself(self) -> None:
        """Take over what was put in the place of the model, the guide, `loss_and_grads` or the optimiser."""
        now = self.model, self.guide, self.loss_and_grads, self.optim
        if all(map(is_, now, self._program)):
            return
        self._begin()
        half, losses = self._first_half, self._roots[2:]
        if self.loss_and_grads is not half:
            losses = (self.loss_and_grads,)
            self._first_half = Differentiation(self.loss_and_grads)
        self._roots = self.model, self.guide, *losses
        self.optim = to_pyros(self.optim)
        self._complete_by(half.clip, half.reduction)
        if self._steady is not None:
            self._steady.goes_on_with(self.optim)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step; its loss, or as many as `loss` returns."""
        self._look_at_itself()
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
        """Sentences on what the net did, and from which step on steps are machine code."""
        return [*self._switch.notes, *([] if self._steady is None else self._steady.net.notes)]

    @property
    def compile_seconds(self) -> float:
        """Spent so far on records and waiting for machine code, beyond the time of the steps."""
        return self._recording_seconds + self._switch.seconds

    def advance(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step; its loss, as a tensor that need not be waited for where the step is not Pyro's."""
        self.number += 1
        self._look_at_itself()
        if self._eager:
            return self._pyros_step(*args, **kwargs)
        tensors: list[Tensor] = []
        objects: list[Any] = []
        try:
            # A handler outside of the step is in no record, and its own bookkeeping would miss the sites.
            if _PYRO_STACK:
                raise CannotCompileError("they are taken inside an effect handler")
            described = (describe(given, tensors, objects) for given in (args, kwargs))
            key = *described, surroundings()
        except CannotCompileError as error:
            self._last = None
            self._telling.eager(f"such steps eagerly: {error}")
            return self._pyros_step(*args, **kwargs)
        try:
            self._look_for_changes(key)
            parameters = self._seen.get(key, self._ready)
            if parameters is not None and parameters.have_gradients():
                self._last = None
                return self._pyros_step(*args, **kwargs)
            for step in [*self._steps.get(key, ())]:
                loss = self._take(step, tensors, args, kwargs)
                if loss is not None:
                    self._first(key, step)
                    return loss
            if parameters is not None:
                return self._record(key, parameters, tensors, objects, args, kwargs)
        except CannotCompileError as error:
            self._stay_eager(str(error))
            return self._pyros_step(*args, **kwargs)
        except NotReplayedError as failure:
            return self._take_instead(failure, args, kwargs)
        return self._take_eagerly(key, args, kwargs)

    # --- which step -------------------------------------------------------------------------------

    def _look_for_changes(self, key: Any) -> None:
        """Forget everything where a record holds something that is no longer so."""
        change = None if self._guards is None else self._guards.change()
        for step in self._steps.get(key, ()):
            change = change or self._outdated(step)
        if change is not None:
            self._forget(
                f"what it reads changed {MOST_CHANGES} times, last {change}; give it as an argument of "
                "the step, a number as a tensor, or where the program does not read it, keep it in another "
                "object"
            )

    def _forget(self, too_often: str) -> None:
        """Record anew; at the eighth time raise CannotCompileError, which says `too_often`."""
        self._begin()
        self._changes += 1
        if self._changes == MOST_CHANGES:
            raise CannotCompileError(too_often)

    def _take(self, step: Step, tensors: list[Tensor], args: Any, kwargs: Any) -> Any:
        """A recorded step; its loss, or None where a size or number that it holds is another one now."""
        step = self._switch.due(step, self.number)
        # Compared at the first, second, fourth, eighth, …: n steps cost log₂ n eager ones besides, and what
        # no guard sees is found before it was wrong for more steps than it was right.
        if step.taken & (step.taken + 1):
            self._last = step
            loss = step.take(tensors, self.optim)
        else:
            loss = self._take_twice(step, tensors, args, kwargs)
        step.taken += loss is not None
        return loss

    def _first(self, key: Any, step: Step) -> None:
        """Have the next step of this kind try this record first."""
        steps = self._steps.get(key, [])
        if len(steps) > 1:
            steps.remove(step)
            steps.insert(0, step)

    def _record(
        self,
        key: Any,
        parameters: Parameters,
        tensors: list[Tensor],
        objects: list[Any],
        args: Any,
        kwargs: Any,
    ) -> Any:
        """A step of Pyro's, whose operations are recorded."""
        steps = self._steps.setdefault(key, [])
        if len(steps) == MOST_CHANGES:
            raise CannotCompileError(
                "Python needs the value of a tensor, in an `if`, a loop, a size or a number, and it is "
                f"another one from step to step{steps[0].moved}"
            )
        self._last = None
        started = time.perf_counter()
        before = rewinding([])
        if parameters is self._ready:
            # No eager step came before: what a program caches in its first run is there already.
            self._first_half.plain(self.model, self.guide, *args, **kwargs)
            zero_grads(parameters.leaves)
            before()
        if self._guards is None or any(o not in self._objects for o in objects):
            self._objects += objects
            self._guards = Guards(*self._roots, *self._objects)
        differentiate = partial(self._first_half.plain, self.model, self.guide)
        given = (args, kwargs), tensors, parameters, self._guards
        recorded = partial(record, differentiate, *given)

        def made(recording: Recording) -> Step:
            return recording.step(parameters, self.optim, self._first_half)

        begun = self._switch.begin(recorded, made, tensors) if self._switch.is_open else None
        self._recording_seconds += time.perf_counter() - started
        if begun is not None and self.number >= self._switch.start:
            # Which step is recorded must not show in the numbers: a run that goes on records another one.
            code = self._switch.waited_for(begun, self.number)
            if code is not None:
                steps.append(code)
                return self._take(code, tensors, args, kwargs)
            begun = None
        recording = recorded(machine_code=False)
        again = partial(differentiate, *args, **kwargs)
        loss, moved = self._first_half.completed(recording.loss, recording.named, again)
        self.optim(moved)
        zero_grads(moved)
        started = time.perf_counter()
        try:
            step = made(recording)
            step.begun = begun
            steps.append(step)
        except CannotCompileError as error:
            self._stay_eager(str(error))
        self._recording_seconds += time.perf_counter() - started
        return loss

    def _outdated(self, step: Step) -> str | None:
        """What the graph of this step holds and is no longer so, in words."""
        if (name := step.parameters.missing()) is not None:
            return f"the parameter {name!r} in Pyro's store (values can be written in place, by `copy_`)"
        if step.is_frozen_otherwise():
            return "which parameters are frozen"
        if any(map(has_gradient_hooks, step.trained)):
            return "a hook of a parameter"
        if step.update is not None and not step.update.is_current(
            self._last is not (step.compiled or step)
        ):
            return "the state or the options of the optimiser"
        return None

    def _take_instead(self, failure: NotReplayedError, args: Any, kwargs: Any) -> Any:
        """Pyro's step where a replay failed: what Pyro refuses it refuses in its own words."""
        self._last = None
        loss = self._pyros_step(*args, **kwargs)
        if not is_nan(loss):
            try:
                self._forget(f"a replay failed {MOST_CHANGES} times, last with {failure}")
            except CannotCompileError as error:
                self._stay_eager(str(error))
        return loss

    def _stay_eager(self, reason: str) -> None:
        self._eager = True
        self._begin()
        self._telling.eager(f"eagerly: {reason}")

    def _pyros_step(self, *args: Any, **kwargs: Any) -> Any:
        return self._telling.faults(super().step, *args, **kwargs)

    def _take_eagerly(self, key: Any, args: Any, kwargs: Any) -> float:
        """The first step of its kind, which shows the parameters."""
        self._last = None
        with poutine.trace(param_only=True) as found:
            loss = self._pyros_step(*args, **kwargs)
        if key not in self._seen and len(self._seen) == MOST_SHAPES:
            self._telling.eager(
                f"further steps eagerly: {MOST_SHAPES} different shapes or values of the arguments came "
                "before; pad what differs in length to a few lengths, and give numbers that change as tensors"
            )
        if len(self._seen) < MOST_SHAPES:
            self._seen[key] = Parameters.of(found.trace, self.optim)
        return loss

    def _take_twice(self, step: Step, tensors: list[Tensor], args: Any, kwargs: Any) -> Any:
        """The recorded step, undone, then Pyro's, which counts."""
        self._last = None  # until both are taken
        whole = partial(self._pyros_step, *args, **kwargs)
        differentiate = partial(self._first_half.plain, self.model, self.guide, *args, **kwargs)
        found = taken_twice(step, tensors, self.optim, whole, differentiate)
        if found is None:
            return None
        loss, differs = found
        if differs is None:
            self._last = step
            return loss
        since = (
            f"they agreed {(step.taken + 1) // 2} steps before: those since may have been wrong"
            if step.taken
            else "no step was taken with it"
        )
        of_rounding = ", or on rounding" if isinstance(step, CompiledStep) else ""
        self._stay_eager(
            f"{differs}, so the program depends on something that cannot be seen{of_rounding}; {since}"
        )
        return torch_item(loss)
