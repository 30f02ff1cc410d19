"""One program at one precision: built once, compiled once, run with whatever it is given."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax import Array, random
from numpyro.infer import autoguide

from numpyro_impl.arguments import make_inputs, to_draws, to_leaf
from numpyro_impl.compilation_cache import kept_compilations
from numpyro_impl.failures import failure_of
from numpyro_impl.quick_compilation import compiled_quickly
from numpyro_impl.recording.borrowed import in_precision
from numpyro_impl.recording.execution import (
    SEED,
    Executed,
    Execution,
    Sampled,
    zeros,
)
from numpyro_impl.recording.operations import operations
from numpyro_impl.recording.parameters import DeclaredParameters
from numpyro_impl.recording.sites import TracedSite, partial_sites
from twinplate.records.record import Failure, Given, Parameter, Run, Settings, Site

Build = Callable[[], tuple[Callable[..., Any], Callable[..., Any] | None]]
_AUTOGUIDES = autoguide.__file__
WAYS = ((True, True), (False, True), (False, False))  # (parameters, runs) found and made compiled


class Session:
    """A program in "float64" or "float32", as `settings` say.

    build: returns (model, guide or None), afresh. Called once; again if the program turns out to keep
        arrays between runs, or not to be traceable by JAX, and runs operation by operation.
    operations: names of the numerical functions that the program calls, known after the first run.
    own_indices: of plates that a program gives indices itself: none, NumPyro's take none.
    """

    def __init__(self, build: Build, precision: str, settings: Settings) -> None:
        self.operations: set[str] = set()
        self.own_indices: dict[str, np.ndarray] = {}
        self._build = build
        self._precision = precision
        self._settings = settings
        self._ways = list(WAYS)  # the first is in use
        self._execution: Execution | None = None
        self._functions: dict[str, jax.stages.Wrapped] = {}

    def sample(self, seed: int, given: Given, args: Any, kwargs: dict[str, Any]) -> Run:
        """Run with the framework's own draws where `given` has none; its parameters replace the first values.

        What the program raises becomes the run's failure.
        """
        return self._recorded("draw", seed, given, args, kwargs)

    def outline(self, given: Given, args: Any, kwargs: dict[str, Any]) -> Run:
        """The sites, whose numbers mean nothing, and first values of the parameters.

        Failures as for `sample`, which is traced for it and not compiled.
        """
        return self._recorded("outline", SEED, given, args, kwargs)

    def run(self, given: Given, args: Any, kwargs: dict[str, Any]) -> Run:
        """Run with these draws, indices and parameters; the draws are replayed (`replay_draws`).

        Failures as for `sample`.
        """
        return self._recorded("run", SEED, given, args, kwargs)

    def unconstrained(self, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The numbers that stand for constrained values in training, once the program has run."""
        assert self._execution is not None
        assert self._execution.parameters is not None
        with _set_up(self._precision):
            return self._execution.parameters.to_unconstrained(parameters)

    def constrained(self, numbers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inverse of `unconstrained`."""
        assert self._execution is not None
        assert self._execution.parameters is not None
        with _set_up(self._precision):
            return self._execution.parameters.to_constrained(numbers)

    def _recorded(
        self, name: str, seed: int, given: Given, args: Any, kwargs: dict[str, Any]
    ) -> Run:
        with _set_up(self._precision):
            while True:
                try:
                    flat, result = self._result(name, seed, given, args, kwargs)
                    break
                except Exception as error:
                    execution, self._execution = self._execution, None
                    if len(self._ways) == 1:
                        return _stopped(execution, error)
                    del self._ways[0]
            assert self._execution is not None
            assert self._execution.parameters is not None
            return _run(result, flat, self._execution.parameters)

    def _result(
        self, name: str, seed: int, given: Given, args: Any, kwargs: dict[str, Any]
    ) -> tuple[dict[str, Array], Sampled | Executed]:
        """The parameters used, and what `Execution.draw` or `Execution.run` returns, or zeros like it."""
        inputs = make_inputs(args, kwargs, self._precision)
        execution = self._built()
        with in_precision((execution.model, execution.guide), self._precision):
            if execution.parameters is None:
                compiled, _ = self._ways[0]
                key, known = random.key(SEED), given.parameters.keys()
                execution.find_parameters(key, inputs, self._precision, compiled, known)
            assert execution.parameters is not None
            flat = execution.parameters.flat()
            flat |= {
                n: to_leaf(v, self._precision) for n, v in given.parameters.items() if n in flat
            }
            draws = {n: to_draws(values, self._precision) for n, values in given.draws.items()}
            indices = {n: to_leaf(values, self._precision) for n, values in given.indices.items()}
            keys = random.split(random.key(seed), self._settings.particles)
            return flat, self._called(execution, name, (flat, keys, draws, indices, inputs))

    def _called(
        self, execution: Execution, name: str, arguments: tuple[Any, ...]
    ) -> Sampled | Executed:
        called = "draw" if name == "outline" else name
        if not execution.compiled:
            return getattr(execution, called)(*arguments)
        if called not in self._functions:
            self._functions[called] = compiled_quickly(getattr(execution, called))
        function = self._functions[called]
        if name == "outline":
            return zeros(function.trace(*arguments).out_info)
        if name == "run" and not self.operations:
            self.operations |= operations(function.trace(*arguments).jaxpr.jaxpr)
        return function(*arguments)

    def _built(self) -> Execution:
        if self._execution is None:
            self._functions = {}
            self._execution = Execution(self._settings, compiled=self._ways[0][1])
            self._execution.model, self._execution.guide = self._build()
        return self._execution


def _run(result: Sampled | Executed, flat: dict[str, Array], declared: DeclaredParameters) -> Run:
    if isinstance(result, Sampled):
        return Run(_sites(result.guide), _sites(result.model), declared.recorded(flat))
    parameters = declared.recorded(flat, result.gradient)
    for name, image in result.sampled.images.items():
        gradient = np.asarray(result.image_gradient[name])
        parameters[name] = Parameter("unconstrained", np.asarray(image), gradient)
    guide, model = _sites(result.sampled.guide), _sites(result.sampled.model)
    return Run(guide, model, parameters, np.asarray(result.loss))


def _sites(traced: tuple[TracedSite, ...]) -> dict[str, Site]:
    return {site.name: site.site() for site in traced}


def _stopped(execution: Execution | None, error: Exception) -> Run:
    """What was recorded until the error."""
    if execution is None:
        return Run(failure=failure_of(error, "build", None))
    guide, model = (partial_sites(execution.traces.get(which, {})) for which in ("guide", "model"))
    reached = next(reversed(model or guide), None)
    declared = execution.parameters
    parameters = {} if declared is None else declared.recorded(declared.flat())
    failure = failure_of(error, execution.stage, reached)
    if _is_of_autoguide(error):
        return Run(guide, model, parameters, failure=_unknown_plate(failure, error))
    return Run(guide, model, parameters, failure=_missing_plate(failure, error, {**guide, **model}))


def _is_of_autoguide(error: Exception) -> bool:
    """Whether an automatic guide itself looked for something that it does not have."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, KeyError) and bool(frames) and frames[-1].filename == _AUTOGUIDES


def _unknown_plate(failure: Failure, error: Exception) -> Failure:
    """In words: the guide knows the plates of the model's trace alone, and this one is in none or hidden."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    trace = getattr(frame.f_locals.get("self"), "prototype_trace", None) or {}
    if any("_scan_current_index" in site.get("infer", ()) for site in trace.values()):
        text = (
            "NumPyro's automatic guides do not know a plate inside of a scan "
            f"({failure.error}): declare its dim as "
            "an event there, with .to_event(1), which is compared with the other program's plate"
        )
    else:
        text = (
            f"NumPyro's automatic guide has a site in a plate that its model hides ({failure.error}): "
            f"expose the plate with the site, block(model, expose=[..., {error.args[0]!r}])"
        )
    return replace(failure, error=text)


def _missing_plate(failure: Failure, error: Exception, sites: dict[str, Site]) -> Failure:
    """The failure in words where NumPyro's enumeration looks for a plate that a site is not in.

    It raises KeyError with the name of another site's plate of that dim, or, where there is none, ValueError
    with a name of its own for the dim.
    """
    plates = {plate.name: plate.dim for site in sites.values() for plate in site.plates}
    name = str(error.args[0]) if isinstance(error, KeyError) and error.args else ""
    if name not in plates and "_pyro_dim_" not in str(error):
        return failure
    asked = plates.get(name)  # the dim
    where = "every plate" if asked is None else f"plate {name!r}, which has this dim at other sites"
    for site in sites:
        shape = sites[site].batch_shape
        inside = {p.dim for p in sites[site].plates}
        for dim, size in zip(range(-len(shape), 0), shape, strict=True):
            if size == 1 or dim in inside or asked not in (None, dim):
                continue
            text = (
                f"missing a plate: site {site!r} has batch dim {dim} of size {size} outside of {where}, and "
                f"NumPyro enumerates plate by plate; put the site into a plate ({failure.error})"
            )
            return replace(failure, site=site, error=text)
    return failure


@contextmanager
def _set_up(precision: str) -> Iterator[None]:
    """64-bit types exactly for "float64", no warnings, compilations kept; the user's flags afterwards."""
    config: Any = jax.config  # which makes its options attributes at run time
    before = config.jax_enable_x64
    try:
        with (
            warnings.catch_warnings(),
            jax.enable_x64(precision == "float64"),
            kept_compilations(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        if config.jax_enable_x64 != before:  # the program itself had set it
            config.update("jax_enable_x64", before)
