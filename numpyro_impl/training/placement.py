"""Where a run's items lie: all on one device, or those of every mini-batch spread over several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax import Array

from numpyro_impl.constants import numbers_apart
from numpyro_impl.device import find_device, memory, to_array
from numpyro_impl.processes import all_workers, check_same_program
from numpyro_impl.sharding import Sharding, T
from twinplate.training.plan import Chunk
from twinplate.training.preparation import Preparation

Data = tuple[Array, Array | None]  # items and pairs, if there are any


class OneDevice:
    """The one that `training.device` names.

    places: of a mini-batch, whose items this process reads where the data are on disk; None for all.
    memory: bytes of the devices together.
    """

    places: npt.NDArray[np.int64] | None = None

    def __init__(self, prepared: Preparation) -> None:
        self.device = find_device(prepared.training.device)
        self.memory = memory(self.device)

    def of_state(self, tree: T) -> T:
        """The state of a run, where the steps of a chunk expect it."""
        return tree

    def of_all(self, x: np.ndarray, a: np.ndarray | None, dtype: Any) -> Data:
        """All data, (N, D) and (K, N)."""
        return to_array(x, dtype), None if a is None else to_array(a, dtype)

    def of_chunk(self, chunk: Chunk, dtype: Any) -> Data:
        """The mini-batches that a chunk brings where the data are on disk."""
        assert chunk.x is not None
        return self.of_all(chunk.x, chunk.a, dtype)

    def batch(self, step: Array, indices: Array, data: Array, pairs: Array | None) -> Data:
        """The mini-batch of a step of the chunk, (B, D) and (K, B), of its rows in the data."""
        return data[indices], None if pairs is None else pairs[:, indices]

    def noise(self, values: dict[str, Array]) -> dict[str, Array]:
        """The base noise of a mini-batch, where its items are."""
        return values

    def compiled(
        self, loop: Any, options: dict[str, Any] | None, *arguments: Any
    ) -> Callable[..., Any]:
        """`loop` of a chunk's steps, which gives away the buffers of the carry.

        options: for the compiler.
        Raises InputError unless all processes have the same program.
        """
        loop, numbers = numbers_apart(loop, *arguments)
        lowered = jax.jit(loop, donate_argnums=0).lower(*arguments, numbers)
        run = lowered.compile(compiler_options=options)
        return lambda *arguments: run(*arguments, numbers)


class Spread(OneDevice):
    """Several devices: all data that fit into memory on each, the items of a mini-batch spread.

    Of data on disk each process reads the items of its own devices alone.
    """

    def __init__(self, prepared: Preparation, devices: Sequence[jax.Device]) -> None:
        self._sharding = Sharding(devices)
        self.device, self.memory = self._sharding.own, self._sharding.memory
        workers = all_workers()
        if (
            workers is not None
        ):  # one program for all, also where hosts have more memory than others
            self.memory = min(workers.gather(self.memory))
        self._axes, self._streamed = prepared.item_axes, prepared.streamed
        self._batch_size = prepared.training.batch_size
        self._padded = -(-self._batch_size // len(self._sharding.devices)) * len(
            self._sharding.devices
        )
        if self._streamed:
            self.places = self._own_places()

    def _own_places(self) -> npt.NDArray[np.int64]:
        places = np.arange(self._padded)
        found = self._sharding.along(0).addressable_devices_indices_map(places.shape)
        own = np.sort(np.concatenate([places[index] for index in found.values()]))
        return own[own < self._batch_size]

    def of_state(self, tree: T) -> T:
        return self._sharding.copied(tree)

    def of_all(self, x: np.ndarray, a: np.ndarray | None, dtype: Any) -> Data:
        given: Any = np.asarray(x, dtype), None if a is None else np.asarray(a, dtype)
        return self._sharding.copied(given)

    def of_chunk(self, chunk: Chunk, dtype: Any) -> Data:
        """Arrays (steps, B', D) and (K, steps, B'): B' is B and as many more as divide."""
        assert chunk.x is not None
        pairs = None if chunk.a is None else self._brought(chunk.a, 2, dtype)
        return self._brought(chunk.x, 1, dtype), pairs

    def _brought(self, values: np.ndarray, axis: int, dtype: Any) -> Array:
        """`values`, whose axis of (steps, places of this process) becomes two, the second one spread."""
        own = self.places
        assert own is not None
        before, after = values.shape[: axis - 1], values.shape[axis:]
        rows = values.reshape(*before, -1, len(own), *after)
        shape = (*rows.shape[:axis], self._padded, *after)

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            wanted = np.arange(self._padded)[index[axis]]
            known = wanted[wanted < self._batch_size]
            found = np.zeros((*shape[:axis], len(wanted), *after), dtype)
            items: Any = (slice(None),) * axis
            found[*items, : len(known)] = rows[*items, np.searchsorted(own, known)]
            return found

        return jax.make_array_from_callback(shape, self._sharding.along(axis), part)

    def batch(self, step: Array, indices: Array, data: Array, pairs: Array | None) -> Data:
        if self._streamed:
            x = data[step, : self._batch_size]
            a = None if pairs is None else pairs[:, step, : self._batch_size]
        else:
            x, a = super().batch(step, self._sharding.spread(indices, 0), data, pairs)
        return self._sharding.spread(x, 0), None if a is None else self._sharding.spread(a, 1)

    def noise(self, values: dict[str, Array]) -> dict[str, Array]:
        return {
            name: self._sharding.spread(noise, self._axes[name]) for name, noise in values.items()
        }

    def compiled(
        self, loop: Any, options: dict[str, Any] | None, *arguments: Any
    ) -> Callable[..., Any]:
        # Numbers that it holds stay in its text, by which processes are compared.
        everywhere = self._sharding.everywhere
        data = pairs = everywhere
        if self._streamed:
            data, pairs = self._sharding.along(1), self._sharding.along(2)
        jitted = jax.jit(
            loop,
            donate_argnums=0,
            in_shardings=(everywhere, everywhere, everywhere, data, pairs),
            out_shardings=everywhere,
        )
        lowered = jitted.lower(*arguments)
        check_same_program(lowered.as_text())
        run: Callable[..., Any] = lowered.compile(compiler_options=options)
        return run
