"""Files of parameters: which reader is for which, and what to do with a pickled one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from twinplate.backends import load_backend
from twinplate.conversion.contents import arrays_of_npz, read_content
from twinplate.conversion.trained_file import Trained, from_safetensors
from twinplate.errors import InputError

OWN = {
    "pyro": (".pt", ".pth", ".save"),
    "numpyro": (".msgpack",),
}  # what only the framework can read
PICKLED = (".pkl", ".pickle", ".p", ".joblib", ".dill")
INSTEAD = {
    "pyro": "pyro.get_param_store().save('trained.pt'), or pyro_impl.trained(optim).save('t.safetensors')",
    "numpyro": "numpyro_impl.trained(svi, state).save('t.safetensors'), or np.savez of the parameters",
}


def read_trained(path: Path, framework: str) -> Trained:
    """What a program of `framework` has learned, from a file: safetensors, NPZ or the framework's own.

    Raises InputError for a file of another kind, a damaged one, and one that would have to be unpickled.
    """
    suffix = path.suffix.lower()
    known = (".safetensors", ".npz", *OWN[framework])
    if suffix in PICKLED:
        raise InputError(
            f"{path} is pickled: reading it could run anything, so it is not read. In a program that you "
            f"trust, load it and save it again: {INSTEAD[framework]}"
        )
    if suffix not in known:
        raise InputError(
            f"{path} has none of the suffixes that are read for {framework}: {', '.join(known)}. Save it "
            f"with {INSTEAD[framework]}"
        )
    content = read_content(path)
    if suffix == ".safetensors":
        return from_safetensors(path, content)
    if suffix == ".npz":
        return Trained(arrays_of_npz(path, content))
    trained: Trained = twin(framework, "files").read_trained(path, content)
    return trained


def read_optimizer(path: Path, framework: str) -> Trained:
    """Where an optimiser stands, from a file as for `read_trained`, or of Pyro's `optim.save`."""
    suffix = path.suffix.lower()
    if framework == "pyro" and suffix not in (*OWN["pyro"], ".safetensors"):
        raise InputError(
            f"{path} has none of the suffixes of Pyro's optimisers: {', '.join(OWN['pyro'])}. Save it with "
            "optim.save('optim.pt'), or with the parameters by pyro_impl.trained(optim).save('t.safetensors')"
        )
    if framework == "pyro" and suffix in OWN["pyro"]:
        trained: Trained = twin(framework, "files").read_optimizer(path, read_content(path))
        return trained
    return read_trained(path, framework)


def twin(framework: str, module: str) -> Any:
    """A module of the framework's own conversion."""
    return importlib.import_module(f"{load_backend(framework).__name__}.conversion.{module}")
