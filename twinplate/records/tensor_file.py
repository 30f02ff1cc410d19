"""The file of a record: one safetensors file, arrays as its tensors and everything else as JSON.

What the JSON means is known to `Record` alone. docs/records.md describes the whole format. Reading a
file unpickles nothing and imports no framework.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from twinplate.errors import InputError
from twinplate.files import written_whole

FORMAT = "twinplate record"
VERSION = 1
Array = npt.NDArray[Any]
Json = dict[str, Any]


class NamedTensors:
    """The tensors of a file that is to be written. An array that occurs twice is kept once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Array] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def named(self, tree: Any) -> Any:
        """Nested dataclasses, dictionaries and sequences as plain data, each array as a tensor's name."""
        if is_dataclass(tree):
            return {f.name: self.named(getattr(tree, f.name)) for f in fields(tree)}
        if isinstance(tree, dict):
            return {key: self.named(value) for key, value in tree.items()}
        if isinstance(tree, tuple | list):
            return [self.named(value) for value in tree]
        if isinstance(tree, np.ndarray | np.generic):
            return self._name(np.asarray(tree, order="C"))  # written as it lies in memory
        return tree

    def _name(self, array: Array) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        name = self._known.setdefault(key, str(len(self._known)))
        self.tensors[name] = array
        return name


def write(path: Path, described: Json, tensors: NamedTensors) -> None:
    """Write plain data, and the tensors that it names, to the new file `path`, whole or not at all.

    Raises InputError where `path` exists or cannot be written, TypeError for what JSON cannot hold.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **described})
    with written_whole(path) as temporary:
        save_file(tensors.tensors, temporary, metadata={"twinplate": text})


def read(path: Path) -> tuple[Json, dict[str, Array]]:
    """The plain data and the tensors by name of the file `path`.

    Raises InputError for a file that is missing, truncated, no record, or of another format version.
    """
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}: expected a record, as `twinplate record` writes it.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = _header(path, file.metadata() or {})
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is no record, or it was truncated: it is not a whole safetensors file ({error}). "
            "Records are written by `twinplate record` and `Record.save`."
        ) from error


def _header(path: Path, metadata: dict[str, str]) -> Json:
    try:
        header = json.loads(metadata["twinplate"])
    except (KeyError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.pop("format", None) != FORMAT:
        raise InputError(
            f"{path} is no record: a safetensors file of something else. Records are written by "
            "`twinplate record` and `Record.save`."
        )
    version = header.pop("version", None)
    if version != VERSION:
        raise InputError(
            f"{path} has format version {version!r}, and this twinplate reads version {VERSION} only: "
            "record the program again, or use the twinplate that wrote it."
        )
    return header
