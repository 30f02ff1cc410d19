"""Steps that are taken without a wait for the device: in one compiled loop, or mini-batch by mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.infer.svi import SVIState

from numpyro_impl.arguments import Inputs
from numpyro_impl.compiled.spreading import OneDevice
from numpyro_impl.compiled.steps import copied, finite_numbers, to_inputs
from twinplate.errors import InputError
from twinplate.training.plan import CHUNK
from twinplate.user_code import warn_user

MOST_BYTES = 2**26  # of mini-batches that are held together on the host
FEW_KINDS = 2  # of mini-batches: all of one shape, and a shorter last one

# State after some steps, their losses, and whether all is finite. The first two may still be on the device.
Reached: TypeAlias = tuple[SVIState, Any, Any]
Compile: TypeAlias = Callable[..., Callable[..., Any]]
Held: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]  # a compiled step, and its arrays


@dataclass(frozen=True)
class Steps:
    """Some steps of a run, which can be taken more than once.

    length: how many.  take: `take(state, first, steps)` takes `steps` of them from the one of number `first`
    on, and leaves `state` as it is.
    """

    length: int
    take: Callable[[SVIState, int, int], Reached]

    def start(self, state: SVIState) -> Reached:
        """All of them, begun."""
        return self.take(state, 0, self.length)


def steps_of_a_loop(
    loop: Callable[..., Reached], inputs: Inputs, num_steps: int
) -> Iterator[Steps]:
    """`num_steps` steps on the same arguments, CHUNK at a time.

    loop: the compiled `take_steps`, to which the buffers of its state are given away.
    Raises InputError for less than one step.
    """
    for length in chunk_lengths(num_steps):
        yield Steps(length, lambda state, first, steps: loop(copied(state), inputs.arrays, steps))


def chunk_lengths(num_steps: int) -> list[int]:
    """Steps of each chunk. Raises InputError for less than one step."""
    if num_steps < 1:
        raise InputError(f"num_steps is {num_steps}; expected a positive whole number")
    return [min(CHUNK, num_steps - first) for first in range(0, num_steps, CHUNK)]


def steps_of_batches(
    update: Callable[..., tuple[SVIState, Array]],
    compile: Compile,
    state: SVIState,
    batches: Iterable[Any],
    kwargs: dict[str, Any],
    place: OneDevice,
) -> Iterator[Steps]:
    """A step on each of `batches`; those of up to CHUNK steps, or MOST_BYTES, are read together.

    update: takes one step.  compile: makes it a function that may write into its state.
    place: where that function expects mini-batches.
    state: any of the run, for its shapes.
    Warns of the third kind of mini-batch, each of which is compiled by itself.
    """
    compiled: dict[Any, Callable[..., Any]] = {}

    def of_kind(inputs: Inputs, arrays: tuple[Any, ...], number: int) -> Callable[..., Any]:
        shapes = tuple((np.shape(a), jnp.result_type(a)) for a in inputs.arrays)
        kind = shapes, inputs.plain, inputs.structure
        if kind not in compiled:
            if len(compiled) == FEW_KINDS:
                warn_user(
                    _another_kind(number, [s for s, _ in shapes], list(compiled)), UserWarning
                )
            step = place.loop(partial(_step, update, inputs), inputs.arrays)
            compiled[kind] = compile(step, state, arrays)
        return compiled[kind]

    done, size = 0, 0
    held: list[Held] = []
    failed: BaseException | None = None
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            break
        except BaseException as error:  # what was read before it counts
            failed = error
            break
        inputs = batch_inputs(batch, kwargs)
        arrays = place.arrays(inputs.arrays)
        held.append((of_kind(inputs, arrays, done + len(held)), arrays))
        size += sum(np.asarray(a).nbytes for a in inputs.arrays if not isinstance(a, jax.Array))
        if len(held) == CHUNK or size > MOST_BYTES:
            yield _steps_on(held)
            done, held, size = done + len(held), [], 0
    if held:
        yield _steps_on(held)
    if failed is not None:
        raise failed


def _step(
    update: Callable[..., tuple[SVIState, Array]],
    inputs: Inputs,
    state: SVIState,
    arrays: tuple[Any, ...],
) -> tuple[SVIState, Array]:
    args, kwargs = replace(inputs, arrays=arrays).arguments()
    return update(state, *args, **kwargs)


def _steps_on(held: list[Held]) -> Steps:
    def take(state: SVIState, first: int, steps: int) -> Reached:
        before, state, losses = finite_numbers(state), copied(state), []
        for step, arrays in held[first : first + steps]:
            state, loss = step(state, arrays)
            losses.append(loss)
        return state, losses, jnp.all(finite_numbers(state) | ~before)

    return Steps(len(held), take)


def batch_inputs(batch: Any, kwargs: dict[str, Any]) -> Inputs:
    """The arguments of a step: a tuple or a list is all of them, as data loaders give it.

    Arrays of the host are copied, since a loader may write its next mini-batch into the same memory. Raises
    InputError for a fixed value without a hash, by which its kind would be known again.
    """
    args = tuple(batch) if isinstance(batch, tuple | list) else (batch,)

    def plain(leaf: Any) -> Any:  # tensors of other libraries
        other = hasattr(leaf, "__array__") and not isinstance(leaf, jax.Array)
        return np.asarray(leaf).copy() if other else leaf

    inputs = to_inputs(*jax.tree.map(plain, (args, kwargs)))
    for value in inputs.plain:
        try:
            hash(value)
        except TypeError as error:
            raise _without_hash(value) from error
    return inputs


def _without_hash(value: Any) -> InputError:
    if isinstance(value, np.ndarray):
        return InputError(
            f"an argument is an array of {value.dtype}, which JAX cannot hold; expected numbers, and names "
            "or categories as whole numbers"
        )
    return InputError(
        f"an argument holds a {type(value).__name__}, which has no hash and is no array; expected trees "
        "(tuples, lists, dictionaries) of arrays, numbers, strings and functions"
    )


def _another_kind(number: int, shapes: list[tuple[int, ...]], known: list[Any]) -> str:
    others = sorted({str([s for s, _ in kind[0]]) for kind in known})
    return (
        f"mini-batch {number} (the first is 0) is of a third kind, and each kind is compiled by itself: its "
        f"arrays have shapes {shapes}, those before {' and '.join(others)}, or another argument that is no "
        "array differs. Expected one shape for all but the last one: pad and mask, or leave the rest out"
    )
