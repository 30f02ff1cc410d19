"""What a program has learned, in NumPy arrays: constrained parameters, and where its optimiser stands.

It is kept in one safetensors file, which any reader of that format opens: parameters under their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from twinplate.conversion.contents import read_content
from twinplate.errors import InputError
from twinplate.files import replacing
from twinplate.records.record import Array

FORMAT = "twinplate trained"
VERSION = 1
MEAN, VARIANCE = "optimizer/mean/", "optimizer/variance/"  # before the names of Adam's moments
DAMAGED = (
    "{} is damaged: it has not one mean, one variance of the same shape and one number of steps for each "
    "of the same parameters. Restore it from a copy, or save it again"
)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a program has learned.

    params: constrained values by name; of NumPyro's trees by "net$params/Dense_0/kernel".
    mean, variance: Adam's moments of the unconstrained parameters, as the framework lays these out; empty
        without an optimiser.
    steps: how many steps of Adam they are of, by name.
    unconstrained: names among `params` whose values are unconstrained, as a `state_dict` has them.

    >>> trained = Trained({"loc": np.array([0.5, 1.0])})
    >>> trained.save("trained.safetensors")
    >>> Trained.load("trained.safetensors").params["loc"].tolist()
    [0.5, 1.0]
    """

    params: dict[str, Array]
    mean: dict[str, Array] = field(default_factory=dict)
    variance: dict[str, Array] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    unconstrained: frozenset[str] = frozenset()

    def save(self, path: Path | str) -> None:
        """Write the file `path`, whole or not at all, in place of what it was. Raises InputError."""
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(self.content())

    def content(self) -> bytes:
        """What `save` writes."""
        tensors = {
            **self.params,
            **_prefixed(MEAN, self.mean),
            **_prefixed(VARIANCE, self.variance),
        }
        told: dict[str, Any] = {"format": FORMAT, "version": VERSION, "steps": self.steps}
        told["unconstrained"] = sorted(self.unconstrained)
        return save(
            {name: np.asarray(values, order="C") for name, values in tensors.items()},
            metadata={"twinplate": json.dumps(told)},
        )

    @classmethod
    def load(cls, path: Path | str) -> Trained:
        """Read a file of `save`, or any safetensors file of parameters by name. Raises InputError."""
        return from_safetensors(Path(path), read_content(Path(path)))


def from_safetensors(path: Path, content: bytes) -> Trained:
    """What is in a safetensors file. Raises InputError, naming `path`, for what is no such file."""
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size]).get("__metadata__", {})
        told = json.loads(header.get("twinplate", "{}"))
    except (SafetensorError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is no safetensors file, or it was truncated ({error}); expected one that "
            "Trained.save or safetensors' save_file wrote"
        ) from error
    if not isinstance(told, dict) or not told:
        return Trained(tensors)
    if (told.get("format"), told.get("version")) != (FORMAT, VERSION):
        raise InputError(
            f"{path} is a {str(told.get('format'))[:40]!r} of version {str(told.get('version'))[:40]}; "
            f"expected a {FORMAT!r} of version {VERSION}, or parameters by name"
        )
    params = {n: v for n, v in tensors.items() if not n.startswith((MEAN, VARIANCE))}
    mean, variance = (_unprefixed(prefix, tensors) for prefix in (MEAN, VARIANCE))
    steps, unconstrained = told.get("steps"), told.get("unconstrained")
    shapes = [{n: v.shape for n, v in moment.items()} for moment in (mean, variance)]
    if not _are_steps(steps) or not _are_names(unconstrained) or shapes[0] != shapes[1]:
        raise InputError(DAMAGED.format(path))
    if set(steps) != set(mean):
        raise InputError(DAMAGED.format(path))
    return Trained(params, mean, variance, steps, frozenset(unconstrained))


def _are_steps(value: Any) -> TypeGuard[dict[str, int]]:
    return isinstance(value, dict) and all(
        type(s) is int and 0 <= s < 2**31 for s in value.values()
    )


def _are_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {prefix + name: values for name, values in arrays.items()}


def _unprefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)}
