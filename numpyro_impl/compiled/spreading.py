"""A user's steps over several devices: which arrays lie in parts, and what is computed where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.primitives import Messenger

from numpyro_impl.sharding import Sharding, T


class spread_plates(Messenger):  # noqa: N801, a handler, named like those of NumPyro
    """The items that plates take, all or a subsample, are spread over the devices."""

    def __init__(self, sharding: Sharding) -> None:
        super().__init__(None)
        self._sharding = sharding

    def postprocess_message(self, msg: dict[str, Any]) -> None:
        """The indices of a plate, once they are drawn."""
        if msg["type"] == "plate":
            msg["value"] = self._sharding.spread(msg["value"], 0)


class OneDevice:
    """Everything is where JAX puts it."""

    everywhere: Any = None  # the sharding of what steps return

    def state(self, state: T) -> T:
        """The state of a run, where its steps expect it."""
        return state

    def arrays(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arrays of a program's arguments, where its steps expect them."""
        return given

    def loop(self, loop: Callable[..., Any], given: tuple[Any, ...]) -> Callable[..., Any]:
        """`loop(state, arrays, ...)` as it is to be compiled for these arrays."""
        return loop


class Spread(OneDevice):
    """Arguments and steps of a user's program are spread over `devices`.

    An array is spread along its first axis, unless that has fewer places than there are devices. It lies in
    parts where the devices divide the axis, and else whole on each, and what follows from it is computed in
    parts. Keys are whole on each, and so is all else. What lies on several devices already stays as it is.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self._sharding = Sharding(devices)
        self.everywhere = self._sharding.everywhere

    def state(self, state: T) -> T:
        return self._sharding.copied(state)

    def arrays(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(map(self._placed, given))

    def _placed(self, leaf: Any) -> Any:
        if _is_placed(leaf):
            return leaf
        if not self._is_spread(leaf) or np.shape(leaf)[0] % len(self._sharding.devices):
            return self._sharding.copied(leaf)
        values, parts = np.asarray(leaf), self._sharding.along(0)
        return jax.make_array_from_callback(values.shape, parts, lambda index: values[index])

    def loop(self, loop: Callable[..., Any], given: tuple[Any, ...]) -> Callable[..., Any]:
        which = [self._is_spread(leaf) and not _is_placed(leaf) for leaf in given]

        def spread(state: Any, arrays: tuple[Any, ...], *rest: Any) -> Any:
            pairs = zip(arrays, which, strict=True)
            arrays = tuple(self._sharding.spread(x, 0) if yes else x for x, yes in pairs)
            with spread_plates(self._sharding):
                return loop(state, arrays, *rest)

        return spread

    def _is_spread(self, leaf: Any) -> bool:
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        return not is_key and np.shape(leaf)[:1] >= (len(self._sharding.devices),)


def _is_placed(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1
