"""NumPyro's parameters and the neutral layout of `twinplate.programs.parameters`.

NumPyro holds the encoder's parameters as one nested dictionary, `encoder$params`, in which flax calls
a weight `kernel` and stores it (in, out); the neutral layout is flat and (out, in). Other parameters
have the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from numpyro_impl.device import to_array
from twinplate.programs.program import Params

NativeParams = dict[str, Any]

ENCODER = "encoder$params"


def to_native(params: Params, dtype: jnp.dtype) -> NativeParams:
    """NumPyro's parameters from the neutral layout."""

    def native(name: str, values: np.ndarray) -> Array:
        return to_array(values.T if name.endswith(".weight") else values, dtype)

    return nested({name: native(name, values) for name, values in params.items()})


def nested(values: Mapping[str, Any]) -> NativeParams:
    """Anything that is given by neutral name, where NumPyro has the parameter of that name."""
    native: NativeParams = {ENCODER: {}}
    for name, value in sorted(values.items()):
        module, *path = name.split(".")
        if module != "encoder":
            native[name] = value
        elif len(path) == 1:
            native[ENCODER][path[0]] = value
        else:
            kind = "kernel" if path[1] == "weight" else path[1]
            native[ENCODER].setdefault(path[0], {})[kind] = value
    return native


def to_neutral(native: NativeParams) -> Params:
    """The inverse of `to_native`, as NumPy float64 arrays."""
    params: Params = {}
    for name, values in native.items():
        if name != ENCODER:
            params[name] = to_numpy(values)
            continue
        for layer, entry in values.items():
            if not isinstance(entry, dict):
                params[f"encoder.{layer}"] = to_numpy(entry)
                continue
            for kind, array in entry.items():
                values = to_numpy(array)
                kind, values = ("weight", values.T.copy()) if kind == "kernel" else (kind, values)
                params[f"encoder.{layer}.{kind}"] = values
    return dict(sorted(params.items()))


def to_numpy(values: Array) -> np.ndarray:
    """A float64 copy in C order."""
    return np.array(values, dtype=np.float64, order="C")
