"""One program at one precision: built once, run with whatever it is given."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.params.param_store import StateDict
from pyro.poutine.util import site_is_subsample
from pyro.util import get_rng_state, set_rng_state
from torch.distributions import biject_to

from pyro_impl.arguments import Inputs, make_inputs, to_leaf
from pyro_impl.device import DTYPES
from pyro_impl.failures import failure_of
from pyro_impl.reachable import tensors_of
from pyro_impl.recording.borrowed import Borrowed, in_precision
from pyro_impl.recording.execution import SEED, Execution, Tensors
from pyro_impl.recording.operations import Operations
from pyro_impl.recording.parameters import (
    give,
    recorded_parameters,
    to_constrained,
    to_unconstrained,
)
from pyro_impl.recording.replay import replay_draws
from pyro_impl.recording.sites import make_sites, sample_nodes, to_array
from twinplate.records.record import Array, Failure, Given, Run, Settings

UNCONSTRAINED = "_unconstrained"  # how AutoNormal calls what it samples

Build = Callable[[], tuple[Callable[..., Any], Callable[..., Any] | None]]


class Session:
    """A program in "float64" or "float32", as `settings` say.

    build: returns (model, guide or None), afresh. Called once, with that default type.
    operations: names of the numerical functions that the program and its loss call, known after the
        first run.
    own_indices: of the plates that the program gives indices itself (`subsample=`), known then too.

    Outside of its runs nothing of a session shows: it has a parameter store of its own, and random
    numbers, default type and the tensors and arrays that the program reaches are as they were.
    """

    def __init__(self, build: Build, precision: str, settings: Settings) -> None:
        self.operations: set[str] = set()
        self.own_indices: dict[str, Array] = {}
        self._precision = precision
        self._settings = settings
        self._store: StateDict = {"params": {}, "constraints": {}}
        self._borrowed = Borrowed([], DTYPES[precision])
        self._unbuilt: Failure | None = None
        self._first: Execution | None = None
        self._ran = False
        self._programs: tuple[Any, ...] = ()
        with self._set_up():
            pyro.set_rng_seed(SEED)
            try:
                self._model, self._guide = build()
            except Exception as error:
                self._unbuilt = failure_of(error, "build", None)
                return
        self._programs = (self._model, self._guide)
        self._borrowed = Borrowed(tensors_of(*self._programs), DTYPES[precision])

    def sample(self, seed: int, given: Given, args: Any, kwargs: dict[str, Any]) -> Run:
        """Run with the framework's own draws where `given` has none; its parameters replace the first values.

        What the program raises becomes the run's failure. Raises InputError for a parameter of another
        shape.
        """
        with self._set_up():
            draws = {name: to_leaf(x, self._precision) for name, x in given.draws.items()}
            inputs = self._warm(args, kwargs, draws)
            return self._recorded(given, inputs, lambda e: e.draw(seed, draws, {}, inputs))

    def outline(self, given: Given, args: Any, kwargs: dict[str, Any]) -> Run:
        """The sites, whose numbers mean nothing, and first values of the parameters.

        Failures as for `sample`.
        """
        return self.sample(SEED, given, args, kwargs)

    def run(self, given: Given, args: Any, kwargs: dict[str, Any]) -> Run:
        """Run with these draws, indices and parameters; the draws are replayed (`replay_draws`).

        Failures as for `sample`.
        """
        with self._set_up():
            inputs = self._warm(args, kwargs, {})
            draws = {name: to_leaf(x, self._precision) for name, x in given.draws.items()}
            draws = {**self._images(draws), **draws}
            indices = {name: to_leaf(x, self._precision) for name, x in given.indices.items()}
            first, self._ran = not self._ran, True
            with Operations(self.operations) if first else nullcontext():  # those of the loss, too
                return self._recorded(given, inputs, lambda e: e.run(draws, indices, inputs))

    def unconstrained(self, parameters: dict[str, Array]) -> dict[str, Array]:
        """The numbers that stand for constrained values in training, once the program has run."""
        with self._set_up():
            return to_unconstrained(parameters)

    def constrained(self, numbers: dict[str, Array]) -> dict[str, Array]:
        """The inverse of `unconstrained`."""
        with self._set_up():
            return to_constrained(numbers)

    def _recorded(self, given: Given, inputs: Inputs, run: Callable[[Execution], None]) -> Run:
        if self._unbuilt is not None:
            return Run(failure=self._unbuilt)
        give(given.parameters, self._precision)
        execution, failure = Execution(self._model, self._guide, self._settings), None
        try:
            run(execution)
        except Exception as error:
            failure = failure_of(error, execution.stage, execution.reached)
            failure = _plate_made_twice(failure, execution)
        particles = self._settings.particles
        return Run(
            make_sites(execution.traces["guide"], particles),
            make_sites(execution.traces["model"], particles),
            recorded_parameters(execution.loss is not None) | execution.latents,
            execution.loss,
            failure,
        )

    def _warm(self, args: Any, kwargs: dict[str, Any], draws: Tensors) -> Inputs:
        """The inputs; at first, run once as it comes, so that every parameter exists before it is given.

        draws: of sites that the program need not sample.
        """
        inputs = make_inputs(args, kwargs, self._precision)
        if self._first is None and self._unbuilt is None:
            pyro.set_rng_seed(SEED)
            self._first = Execution(self._model, self._guide, self._settings)
            first = {name: values[0] for name, values in draws.items()}
            replaying = replay_draws(first, {})
            with suppress(Exception), Operations(self.operations), replaying:
                self._first.program(inputs)  # what it raises, the run proper will say
            own = {name: x for name, x in replaying.own_indices.items() if x is not None}
            self.own_indices |= {name: to_array(x) for name, x in own.items()}
        return inputs

    def _images(self, draws: Tensors) -> Tensors:
        """Draws of the sites `x_unconstrained` that AutoNormal samples and maps to `x`, a delta."""
        traces = self._first.traces if self._first is not None else {}
        if not all(traces.get(which) for which in ("guide", "model")):
            return {}
        guide, model = (sample_nodes(traces[which][-1]) for which in ("guide", "model"))
        return {
            f"{name}{UNCONSTRAINED}": biject_to(model[name]["fn"].support).inv(values)
            for name, values in draws.items()
            if f"{name}{UNCONSTRAINED}" in guide and name in model
        }

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        """This session's precision, parameters and tensors; afterwards everything is the user's again."""
        default, rng = torch.get_default_dtype(), get_rng_state()
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(torch.enable_grad())
            stack.enter_context(pyro.settings.context(module_local_params=False))
            stack.enter_context(pyro.get_param_store().scope(self._store))
            stack.enter_context(self._borrowed.swapped())
            stack.enter_context(in_precision(self._programs, self._precision))
            if self._precision == "float32":  # rounding may move values out of their support
                stack.enter_context(dist.validation_enabled(False))
            stack.callback(set_rng_state, rng)
            stack.callback(torch.set_default_dtype, default)
            torch.set_default_dtype(DTYPES[self._precision])
            yield


def _plate_made_twice(failure: Failure, execution: Execution) -> Failure:
    """The failure in words where a plate of one name is made in every step of a loop, as NumPyro allows."""
    nodes = [t.nodes for traces in execution.traces.values() for t in traces]
    plates = {name for found in nodes for name, n in found.items() if site_is_subsample(n)}
    twice = [name for name in plates if f"Multiple sample sites named '{name}'" in failure.error]
    if not twice:
        return failure
    text = (
        f"plate {twice[0]!r} is made more than once: make it before the loop and enter it in every step, "
        f"items = pyro.plate({twice[0]!r}, ...), with items: ({failure.error})"
    )
    return replace(failure, error=text)
