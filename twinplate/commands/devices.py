"""The devices that a command spreads mini-batches over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinplate.backends import load_backend
from twinplate.errors import InputError


def chosen_devices(backend: str, device: str, count: int | None) -> Sequence[Any] | None:
    """The first `count` of this process, of the kind that `device` names; None where `count` is.

    They are chosen before the framework has started, which can make several of one CPU only then. Raises
    InputError where there are not as many.
    """
    implementation = load_backend(backend)
    if count is None:
        return None
    if count < 1:
        raise InputError(f"--devices is {count}; expected 1 or more")
    if backend == "pyro":
        raise InputError(
            f"--devices is {count}, but Pyro runs on one device; expected --backend numpyro, or no --devices"
        )
    found: Sequence[Any] = implementation.device.local_devices(device, count)
    return found
