"""Records on disk: one safetensors file, the arrays as its tensors and everything else as JSON.

docs/records.md describes the format. Reading a record unpickles nothing and imports no framework.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from twinplate.errors import InputError
from twinplate.files import written_whole
from twinplate.records.evaluation import Plate
from twinplate.records.record import Array, Failure, Given, Parameter, Record, Run, Settings, Site

FORMAT = "twinplate record"
VERSION = 1
Json = dict[str, Any]


def save(path: Path | str, record: Record) -> None:
    """Write the record to the new file `path`, whole or not at all.

    Raises InputError where `path` exists or cannot be written.
    """
    arrays = _Arrays()
    text = json.dumps(_plain(record, arrays))
    with written_whole(Path(path)) as temporary:
        save_file(arrays.tensors, temporary, metadata={"twinplate": text})


def load(path: Path | str) -> Record:
    """Read the record in the file `path`.

    Raises InputError for a file that is missing, truncated, no record, or of another format version.
    """
    header, tensors = _read(Path(path))
    try:
        return _Reader(tensors).record(header)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged: its header does not describe a record ({error!r}). Restore it from a "
            "copy, or record the program again."
        ) from error


# -- writing ------------------------------------------------------------------------------------------


class _Arrays:
    """The tensors of a file. An array that occurs twice is stored once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Array] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def named(self, tree: Any) -> Any:
        """The tree as plain data, with the name of a tensor for every array."""
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


def _plain(record: Record, arrays: _Arrays) -> Json:
    """The record as JSON data; a pair is no key there, so runs come by draw, then by precision."""
    runs: Json = {}
    for (draw, precision), run in record.runs.items():
        runs.setdefault(draw, {})[precision] = arrays.named(run)
    rest = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "runs"}
    return {"format": FORMAT, "version": VERSION, **arrays.named(rest), "runs": runs}


# -- reading ------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[Json, dict[str, Array]]:
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
    except (KeyError, ValueError):
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


class _Reader:
    """Builds a record from its JSON data and its tensors."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self._tensors = tensors

    def record(self, data: Json) -> Record:
        runs = {
            (draw, precision): self._run(run)
            for draw, precisions in data["runs"].items()
            for precision, run in precisions.items()
        }
        settings = Settings(**data["settings"] | {"seeds": tuple(data["settings"]["seeds"])})
        given = {draw: self._given(values) for draw, values in data["given"].items()}
        built = {"settings": settings, "runs": runs, "given": given}
        inputs, operations = self._arrays(data["inputs"]), tuple(data["operations"])
        return Record(**data | built | {"inputs": inputs, "operations": operations})

    def _run(self, data: Json) -> Run:
        return Run(
            {name: self._site(site) for name, site in data["guide"].items()},
            {name: self._site(site) for name, site in data["model"].items()},
            {name: self._parameter(p) for name, p in data["parameters"].items()},
            self._array(data["loss"]),
            Failure(**data["failure"]) if data["failure"] else None,
        )

    def _site(self, data: Json) -> Site:
        built: Json = {name: self._array(data[name]) for name in ("value", "log_prob", "mask")}
        built |= {name: tuple(data[name]) for name in ("batch_shape", "event_shape")}
        built["plates"] = tuple(Plate(**plate) for plate in data["plates"])
        return Site(**data | built | {"arguments": self._arrays(data["arguments"])})

    def _parameter(self, data: Json) -> Parameter:
        value, gradient = self._tensors[data["value"]], self._array(data["gradient"])
        return Parameter(data["constraint"], value, gradient)

    def _given(self, data: Json) -> Given:
        return Given(**{name: self._arrays(arrays) for name, arrays in data.items()})

    def _arrays(self, names: dict[str, str]) -> dict[str, Array]:
        return {key: self._tensors[name] for key, name in names.items()}

    def _array(self, name: str | None) -> Array | None:
        return None if name is None else self._tensors[name]
