"""Mini-batches spread over several devices: a mesh with one axis, and where arrays lie on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from numpyro_impl.device import memory
from twinplate.errors import InputError

AXIS = "items"  # the only axis of the mesh

T = TypeVar("T")


class Sharding:
    """n devices that share the items of every mini-batch, ⌈B / n⌉ neighbours each, fewer for the last ones.

    Everything else lies on all of them. The compiler splits what is computed of the items, and adds the
    all-reduces. Items that do not divide it pads, and leaves the padding out of every sum: the numbers are
    those of one device but for the order of sums.

    devices: of all processes under `jax.distributed`, where each process works on its own.

    The axis is of the type Auto. With Explicit axes, those of `jax.make_mesh`, types of arrays carry their
    sharding, under which triangular fills, Gamma draws and batched Cholesky factors raise.

    Raises InputError unless they are different devices of one platform, some of this process.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.devices = tuple(devices)
        _check(self.devices)
        self._mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        self.everywhere = NamedSharding(self._mesh, PartitionSpec())

    @property
    def own(self) -> jax.Device:
        """The first of the devices of this process."""
        return next(d for d in self.devices if d.process_index == jax.process_index())

    @property
    def memory(self) -> int:
        """Bytes of memory of all devices together. Devices made of one CPU share that of their host."""
        if self.own.platform == "cpu":
            return memory(self.own) * len({d.process_index for d in self.devices})
        return memory(self.own) * len(self.devices)

    def along(self, axis: int) -> NamedSharding:
        """That of arrays whose items are on `axis`."""
        return NamedSharding(self._mesh, PartitionSpec(*[None] * axis, AXIS))

    def spread(self, values: Array, axis: int) -> Array:
        """The same values in a compiled function, with the items on `axis` spread."""
        return jax.lax.with_sharding_constraint(values, self.along(axis))

    def copied(self, tree: T) -> T:
        """Arrays of this process, equal in every other one, on all devices."""
        return jax.tree.map(self._copied, tree)

    def _copied(self, leaf: Any) -> Array:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._copied(random.key_data(leaf))
            return random.wrap_key_data(data, impl=random.key_impl(leaf))
        values = np.asarray(leaf)
        return jax.make_array_from_callback(
            values.shape, self.everywhere, lambda index: values[index]
        )


def _check(devices: tuple[jax.Device, ...]) -> None:
    if not devices or len(set(devices)) < len(devices):
        raise InputError(
            f"devices is {list(devices)}; expected one or more, each once, such as jax.devices()"
        )
    if len({d.platform for d in devices}) > 1:
        raise InputError(f"devices is {list(devices)}; expected devices of one platform")
    if all(d.process_index != jax.process_index() for d in devices):
        raise InputError(
            f"none of the devices {list(devices)} belongs to this process; expected some of every process, "
            "such as jax.devices()"
        )
