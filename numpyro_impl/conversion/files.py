"""Files that flax writes, which hold arrays by name and nothing that runs."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from flax.serialization import msgpack_restore
from jax.tree_util import keystr, tree_flatten_with_path

from twinplate.conversion.contents import checked_sizes
from twinplate.conversion.trained_file import Trained
from twinplate.errors import InputError


def read_trained(path: Path, content: bytes) -> Trained:
    """Parameters that `flax.serialization.to_bytes` wrote. Raises InputError for anything else."""
    try:
        with jax.default_device(jax.devices("cpu")[0]):
            leaves = tree_flatten_with_path(msgpack_restore(content))[0]
            arrays = {keystr(p, simple=True, separator="/"): np.asarray(x) for p, x in leaves}
    except Exception as error:  # damaged bytes make msgpack, NumPy and flax raise a dozen types
        raise InputError(
            f"{path} is no file that flax.serialization.to_bytes(params) wrote, or it is damaged ({error})"
        ) from error
    other = [name for name, values in arrays.items() if values.dtype.kind not in "fiub"]
    if other:
        raise InputError(f"{path} holds {other[0]!r}, which is no array of real numbers")
    checked_sizes(path, {n: x.nbytes for n, x in arrays.items()}, content)
    return Trained({name: x for name, x in arrays.items() if x.dtype.kind == "f"})
