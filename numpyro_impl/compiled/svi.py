"""`numpyro.infer.SVI` whose `run` takes its steps in chunks, each one compiled loop on the device.

Arrays and floats among the arguments are data, everything else is fixed in the program. Each call traces
the program anew, so that nothing it reads is out of date, and compiles it where its text is a new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from operator import length_hint
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax import Array
from numpyro.infer import SVI
from numpyro.infer.svi import SVIRunResult, SVIState

from numpyro_impl.arguments import Inputs
from numpyro_impl.compilation_cache import kept_compilations
from numpyro_impl.compiled.batching import (
    Steps,
    batch_inputs,
    chunk_lengths,
    steps_of_a_loop,
    steps_of_batches,
)
from numpyro_impl.compiled.loops import Loops
from numpyro_impl.compiled.running import SMALLER, Running
from numpyro_impl.compiled.spreading import OneDevice, Spread
from numpyro_impl.compiled.steadied import SteadiedOptim
from numpyro_impl.compiled.steps import keys_and_rates, take_steps, to_inputs, unprepared
from numpyro_impl.constants import numbers_apart
from numpyro_impl.failures import untraceable
from numpyro_impl.objectives.loss_faults import Traced, faults_of
from numpyro_impl.processes import check_same_program
from numpyro_impl.quick_compilation import quick_functions
from twinplate.errors import InputError
from twinplate.loss_faults import WrongLossWarning
from twinplate.training.errors import is_out_of_memory
from twinplate.training.restarts import Ranked
from twinplate.training.state import Progress
from twinplate.user_code import warn_user


@dataclass(frozen=True)
class SVIRuns(Ranked):
    """R fits of one program; `params` and `states` have a leading dim of R.

    losses (R, steps).  diverged (R,): true for a fit with a number that is not finite.
    learning_rates (R,): None where the optimiser was one and the same.
    """

    params: dict[str, Any]
    states: SVIState
    learning_rates: np.ndarray | None

    @property
    def best_run(self) -> SVIRunResult:
        """Params, state and losses of the fit `best`. Raises InputError if all diverged."""
        best = self.best
        all_runs = SVIRunResult(self.params, self.states, jnp.asarray(self.losses))
        return jax.tree.map(lambda leaf: leaf[best], all_runs)


def _is_traced(tree: Any) -> bool:
    """Whether JAX is tracing a function around, of which these are arguments."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


class CompiledSVI(SVI):
    """`numpyro.infer.SVI` for the same models, guides, optimisers and losses.

    clip: times its usual size that the gradient of a parameter may have; None leaves all as they are.
    net: whether `run` takes steps again at half the rate that went wrong: of which the loss or the state is
        not finite, or whose last losses are far above those before (`twinplate.training.net`).
    notes: sentences on what the net did.
    devices: over which `run` and `run_batches` spread their arguments, the items of plates and what is
        computed of them; by default all is on one. Arrays among the arguments lie in parts along their first
        axis where the devices divide it, all else whole on each; an array on several devices already stays
        there. The numbers are those of one device but for the order of sums.
    With `clip` or `net` the optimiser's state is a `numpyro_impl.compiled.steadied.Steady`.
    compile_seconds: spent so far on tracing and compiling, little where the compiled program was on disk.

    >>> import numpyro
    >>> import numpyro.distributions as dist
    >>> from numpyro.infer import Trace_ELBO
    >>> def model(y):
    ...     numpyro.sample("y", dist.Normal(numpyro.param("mean", 0.0), 1.0), obs=y)
    >>> svi = CompiledSVI(model, lambda y: None, numpyro.optim.Adam(0.1), Trace_ELBO())
    >>> params, state, losses = svi.run(jax.random.key(0), 150, 2.0, progress_bar=False)
    >>> losses.shape, bool(losses[-1] < losses[0])
    ((150,), True)
    >>> runs = svi.run_many(jax.random.split(jax.random.key(0), 3), 20, 2.0)
    >>> runs.losses.shape, runs.best_run.losses.shape
    ((3, 20), (20,))
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        optim: Any,
        loss: Any,
        *,
        clip: float | None = None,
        net: bool = False,
        devices: Sequence[jax.Device] | None = None,
        **static_kwargs: Any,
    ) -> None:
        super().__init__(model, guide, optim, loss, **static_kwargs)
        self._most, self._has_net = clip, net
        self.optim: Any = self._steadied(self.optim)
        self._place = OneDevice() if devices is None else Spread(devices)
        self.notes: list[str] = []
        self.compile_seconds = 0.0
        self._loops = Loops()
        self._told: set[str] = set()

    def _steadied(self, optim: Any) -> Any:
        return SteadiedOptim(optim, self._most) if self._most or self._has_net else optim

    def init(self, rng_key: Array, *args: Any, **kwargs: Any) -> SVIState:
        """The first state, as `numpyro.infer.SVI.init` makes it.

        Warns, by a WrongLossWarning, of a loss or guide that NumPyro gets wrong for such a program.
        """
        model, guide = Traced(self.model), Traced(self.guide)
        svi = SVI(model, guide, self.optim, self.loss, **self.static_kwargs)
        with kept_compilations(), quick_functions:
            state = svi.init(rng_key, *args, **kwargs)
        self.constrain_fn = svi.constrain_fn
        for fault in faults_of(self.loss, guide.trace, model.trace):
            if fault not in self._told:
                self._told.add(fault)
                warn_user(fault, WrongLossWarning)
        return state

    def run(
        self,
        rng_key: Array,
        num_steps: int,
        *args: Any,
        progress_bar: bool = True,
        stable_update: bool = False,
        forward_mode_differentiation: bool = False,
        init_state: SVIState | None = None,
        init_params: dict[str, Any] | None = None,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> SVIRunResult:
        """Take `num_steps` steps, as `numpyro.infer.SVI.run` does, with the same random numbers.

        progress: called after every chunk with the number of steps done and the chunk's losses.

        A program that needs the value of an argument, for a size or an `if`, gets it, and is compiled for
        these arguments alone; not with `devices`. Inside of `jax.jit`, `vmap` or `grad` the run is stock.

        Raises NonFiniteLossError (not with `stable_update`), OutOfMemoryError and TrainingInterrupted (a
        KeyboardInterrupt), whose `fit` is the SVIRunResult of the last good state; InputError for a program
        that cannot be compiled.
        """
        if _is_traced((rng_key, args, kwargs, init_state, init_params)):
            if self._has_net or progress is not None:
                raise InputError(
                    "net=True and progress look at losses between steps, which nobody can inside of jax.jit, "
                    "vmap or grad; leave them out there, or take run_many for many keys"
                )
            return super().run(
                rng_key,
                num_steps,
                *args,
                progress_bar=False,
                stable_update=stable_update,
                forward_mode_differentiation=forward_mode_differentiation,
                init_state=init_state,
                init_params=init_params,
                **kwargs,
            )
        first = self._first_state(rng_key, init_state, init_params, args, kwargs)
        update = self.stable_update if stable_update else self.update
        step = partial(update, forward_mode_differentiation=forward_mode_differentiation)
        chunk_lengths(num_steps)  # which raises before anything is compiled
        first = self._place.state(first)

        def compiled(inputs: Inputs) -> tuple[Inputs, Callable[..., Any]]:
            take = self._place.loop(partial(take_steps, step, inputs), inputs.arrays)
            inputs = replace(inputs, arrays=self._place.arrays(inputs.arrays))
            out = self._place.everywhere
            return inputs, self._compile(take, first, inputs.arrays, 1, steps=num_steps, out=out)

        inputs, loop = self._with_values(to_inputs(args, kwargs), compiled)
        chunks = steps_of_a_loop(loop, inputs, num_steps)
        shown = tqdm.tqdm(total=num_steps, unit="step", disable=not progress_bar)
        return self._run(chunks, first, shown, progress, tolerant=stable_update)

    def run_batches(
        self,
        rng_key: Array,
        batches: Iterable[Any],
        *,
        progress_bar: bool = True,
        init_state: SVIState | None = None,
        init_params: dict[str, Any] | None = None,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> SVIRunResult:
        """Take a step on each of `batches`: a data loader, a generator, a list, anything that iterates.

        A tuple or a list is all positional arguments of a step, anything else the only one; arrays may be
        those of any library, torch's tensors too. `kwargs` are those of every step. The steps are those of
        `update` in a loop, compiled once for each shape, and the next mini-batches are read while the
        device takes steps.

        Other arguments, `Raises` and the result as for `run`; InputError too where there is no mini-batch. An
        error of whoever makes the mini-batches is raised once those before it are taken, with their `fit`.
        Warns of the third shape among the mini-batches.

        >>> import numpyro
        >>> import numpyro.distributions as dist
        >>> from numpyro.infer import Trace_ELBO
        >>> def model(y):
        ...     numpyro.sample("y", dist.Normal(numpyro.param("mean", 0.0), 1.0), obs=y)
        >>> svi = CompiledSVI(model, lambda y: None, numpyro.optim.Adam(0.1), Trace_ELBO())
        >>> batches = (np.full(4, 2.0, np.float32) for _ in range(150))
        >>> svi.run_batches(jax.random.key(0), batches, progress_bar=False).losses.shape
        (150,)
        """
        total = length_hint(batches) or None  # a loader may have a length that raises
        iterator = iter(batches)
        head = next(iterator, None)
        if head is None:
            raise InputError(
                "there is no mini-batch; expected at least one (an iterator is empty once it was read)"
            )
        inputs = batch_inputs(head, kwargs)
        args, given = inputs.arguments()
        first = self._first_state(rng_key, init_state, init_params, args, given)
        first = self._place.state(first)
        compile = partial(self._compile, out=self._place.everywhere)
        chunks = steps_of_batches(
            self.update, compile, first, chain([head], iterator), kwargs, self._place
        )
        shown = tqdm.tqdm(total=total, unit="step", disable=not progress_bar)
        return self._run(chunks, first, shown, progress)

    def _first_state(
        self, rng_key: Array, state: SVIState | None, init_params: Any, args: Any, kwargs: Any
    ) -> SVIState:
        """`state`, or the one that `init` makes, which learns the constraints of the parameters too."""
        if state is not None and self.constrain_fn is not None:
            return state
        if rng_key is None:
            raise InputError(
                "rng_key is None, but this CompiledSVI has taken no step yet; give a key: what the program's "
                "parameters may be is learned in its first run, also where `init_state` is given"
            )
        first = self.init(rng_key, *args, init_params=init_params, **kwargs)
        return first if state is None else state

    def _run(
        self,
        chunks: Iterator[Steps],
        state: SVIState,
        shown: Any,
        progress: Progress | None,
        tolerant: bool = False,
    ) -> SVIRunResult:
        running = Running(shown, progress, self._result, self._has_net, tolerant)
        try:
            return running.run(chunks, state)
        finally:
            self.notes += running.notes

    def run_many(
        self,
        rng_keys: Array,
        num_steps: int,
        *args: Any,
        optim: Callable[[Any], Any] | None = None,
        learning_rates: Sequence[float] | None = None,
        init_params: dict[str, Any] | None = None,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> SVIRuns:
        """A fit from every key, in one compiled program; with every learning rate if they are given.

        Each is the one that `run` makes of that key, with an automatic guide that has not run before.
        One that diverges is reported, not raised.
        optim: makes an optimiser of a learning rate, such as `numpyro.optim.Adam`; tried at each of
            `learning_rates` with every key. Without them every fit has the optimiser of this object.
        progress: called with the steps of all fits done so far, and the means of the chunk's losses.

        Raises InputError for arguments that do not fit, and where memory has no room for all fits.
        """
        keys, rates = keys_and_rates(rng_keys, optim, learning_rates)
        lengths = chunk_lengths(num_steps)
        self.init(keys[0], *args, init_params=init_params, **kwargs)  # learns sites and constraints

        def at(rate: Any) -> SVI:
            chosen = self.optim if optim is None else self._steadied(optim(rate))
            svi = SVI(self.model, self.guide, chosen, self.loss, **self.static_kwargs)
            svi.constrain_fn = (
                self.constrain_fn
            )  # a function, which no traced `init` could hand out
            return svi

        def start(key: Array, rate: Any) -> SVIState:
            svi = at(rate)
            svi.guide = unprepared(self.guide)
            return svi.init(key, *args, init_params=init_params, **kwargs)

        def loop(inputs: Inputs, state: SVIState, rate: Any, arrays: Any, steps: Array) -> Any:
            return take_steps(at(rate).update, inputs, state, arrays, steps)

        def compiled(inputs: Inputs) -> tuple[Inputs, Callable[..., Any]]:
            mapped = jax.vmap(partial(loop, inputs), (0, 0, None, None))
            return inputs, self._compile(mapped, states, rates, inputs.arrays, 1, steps=num_steps)

        losses, diverged = [np.zeros((len(keys), 0))], np.zeros(len(keys), bool)
        try:
            pairs = [(key, None if rates is None else rates[r]) for r, key in enumerate(keys)]
            states = jax.tree.map(lambda *x: jnp.stack(x), *(start(*pair) for pair in pairs))
            inputs, take = self._with_values(to_inputs(args, kwargs), compiled)
            for length in lengths:
                states, *results = take(states, rates, inputs.arrays, length)
                found, finite = jax.device_get(results)
                losses.append(found[:, :length].astype(np.float64))
                diverged |= ~finite
                if progress:
                    progress(sum(part.size for part in losses), losses[-1].mean(axis=0))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"out of memory with {len(keys)} fits at once; expected fewer, or {SMALLER}"
            ) from error
        params = jax.vmap(at(None if rates is None else rates[0]).get_params)(states)
        tried = None if rates is None else np.asarray(rates)
        return SVIRuns(np.concatenate(losses, axis=1), diverged, params, states, tried)

    def _result(self, state: SVIState, losses: list[np.ndarray]) -> SVIRunResult:
        all_losses = jnp.asarray(np.concatenate([*losses, np.zeros(0, jnp.result_type(float))]))
        return SVIRunResult(self.get_params(state), state, all_losses)

    def _with_values(
        self,
        inputs: Inputs,
        compiled: Callable[[Inputs], tuple[Inputs, Callable[..., Any]]],
    ) -> tuple[Inputs, Callable[..., Any]]:
        """`compiled(inputs)`; where a program on one device needs values of them, with all of them fixed."""
        try:
            return compiled(inputs)
        except InputError as error:
            needs_values = isinstance(error.__cause__, Exception) and untraceable(error.__cause__)
            if not (needs_values and inputs.arrays) or self._place.everywhere is not None:
                raise
        return compiled(inputs.fixed())

    def _compile(
        self, loop: Any, *arguments: Any, steps: int | None = None, out: Any = None
    ) -> Callable[..., Any]:
        """`loop`, which takes the state's buffers, traced now; compiled where its text is a new one.

        steps: that will be taken, if known: a few are not worth optimising.
        out: the sharding of what it returns; by default JAX's.
        """
        started = time.perf_counter()
        # Traced in every call: the text shows whatever the program reads by now, so nothing has to be
        # guarded.
        try:
            with kept_compilations():
                numbers: list[Any] = []
                if out is None:
                    loop, *numbers = numbers_apart(loop, *arguments)
                jitted = jax.jit(loop, donate_argnums=0, out_shardings=out)
                traced = jitted.trace(*arguments, *numbers)
                lowered = traced.lower()
                if out is not None:  # numbers that it holds are in its text
                    check_same_program(lowered.as_text())
                steps = steps if out is None else None  # programs of several devices are optimised
                compiled = self._loops.compiled(traced, lowered, steps)
        except Exception as error:
            if (explained := untraceable(error)) is None:
                raise
            raise explained from error
        finally:
            self.compile_seconds += time.perf_counter() - started
        return lambda *arguments: compiled(*arguments, *numbers)
