"""Where arrays live: a JAX device and precision by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from twinplate.errors import InputError
from twinplate.host import host_memory

DTYPES = {"float32": jnp.float32, "float64": jnp.float64}


def find_device(name: str) -> jax.Device:
    """ "auto" (an accelerator if there is one), "cpu" or "gpu". Raises InputError if there is no GPU."""
    try:
        return jax.local_devices(backend=None if name == "auto" else name)[0]
    except RuntimeError as error:
        raise InputError(
            f"device is {name!r} but JAX sees none; use 'cpu' or 'auto', or install a JAX with CUDA"
        ) from error


def local_devices(name: str, count: int) -> tuple[jax.Device, ...]:
    """The first `count` devices of this process, for `fit(..., devices=...)`.

    name: of their kind, as for `find_device`. JAX makes several of one CPU, all of one memory, if it has not
    started: no array was made and no device asked for. Raises InputError where there are not as many.

    >>> [device.platform for device in local_devices("cpu", 1)]
    ['cpu']
    """
    asked = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    if name != "gpu" and asked < count:
        with suppress(RuntimeError):  # JAX has started: with as many?
            jax.config.update("jax_num_cpu_devices", count)
    kind = find_device(name).platform
    found = jax.local_devices(backend=kind)
    if len(found) >= count:
        return tuple(found[:count])
    if kind != "cpu":
        raise InputError(
            f"{count} devices are asked for, but there are {len(found)} of the kind {kind!r}; expected as "
            "many or fewer, or device 'cpu'"
        )
    raise InputError(
        f"{count} devices are asked for, but JAX has started in this process with {len(found)}, and makes no "
        f"more of a CPU after that; set JAX_NUM_CPU_DEVICES={count} in the environment, or ask earlier"
    )


def device_names() -> tuple[str, ...]:
    """What JAX sees, the one that is taken by default first: "cpu", or the kind of an accelerator."""
    return tuple(device.device_kind for device in jax.devices())


def memory(device: jax.Device) -> int:
    """Bytes of memory that belong to `device`."""
    return (device.memory_stats() or {}).get("bytes_limit") or host_memory()


@contextmanager
def using(device: jax.Device, precision: str) -> Iterator[None]:
    """Work on `device`, with 64-bit types exactly if `precision` is "float64".

    Products are in the full precision of their type, as in torch: JAX's default on a GPU is TF32, of 10 bits.
    """
    with (
        jax.default_device(device),
        jax.enable_x64(precision == "float64"),
        jax.default_matmul_precision("highest"),
    ):
        yield


def to_array(values: np.ndarray, dtype: jnp.dtype) -> Array:
    """A fresh array of `values`; nothing is shared with the NumPy array."""
    return jnp.array(np.asarray(values, dtype))  # the type by NumPy, for which nothing is compiled
