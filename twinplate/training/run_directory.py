"""The run directory: a trained model and guide on disk, the same whichever framework wrote it.

    run.json               format version, configuration, data, versions, step, checksums of files
    params.safetensors     learned parameters, under neutral names and in the neutral layout
    optimizer.safetensors  where training stands, to go on from: `last.NAME`, the parameters after the
                           last step, and Adam's first and second moments, `mean.NAME`, `variance.NAME`
    fixed.safetensors      generative parameters that were given rather than learned
    losses.npy             the loss of every step taken

It is written whole or not at all, and reading it never unpickles anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from twinplate.errors import InputError
from twinplate.files import written_whole

Arrays: TypeAlias = dict[str, np.ndarray]

FORMAT = 3  # 1 held no average of the parameters, 2 had other units
FRAMEWORKS = ("torch", "pyro-ppl", "jax", "numpyro", "flax", "optax")
TENSOR_FILES = ("params.safetensors", "optimizer.safetensors", "fixed.safetensors")
LOSSES_FILE = "losses.npy"
RUN_KEYS: dict[str, type] = {
    "config": dict,
    "data": dict,
    "versions": dict,
    "step": int,
    "files": dict,
}


@dataclass(frozen=True, eq=False)
class SavedRun:
    """Everything that a run directory holds.

    config, data: plain JSON data, with lists and no tuples. `data` has fingerprint, num_items, num_features
        and columns.
    versions: by package.
    params: the fitted parameters, an average over the steps.
    last: the parameters after the last step.  mean, variance: Adam's moments. All three have the names and
        shapes of `params`.
    fixed: the numbers that are not trained, `ReferenceProgram.fixed`.
    losses: (steps,), nats per item.
    step: the number of the next step, which is where the random streams of the seed go on.
    limits: on the learning rate and the loss of later steps, `Limits.as_dict()`.
    """

    config: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, str]
    params: Arrays
    last: Arrays
    mean: Arrays
    variance: Arrays
    fixed: Arrays
    losses: np.ndarray
    step: int
    limits: dict[str, float] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Versions by name: of Python, NumPy, SciPy and twinplate, and of the frameworks that are installed."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "twinplate", *FRAMEWORKS):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def save_run(path: Path, run: SavedRun) -> None:
    """Write `run` to the new directory `path`, whole or not at all.

    Raises:
        InputError: `path` exists or cannot be written, or last parameters or moments do not match the
            fitted parameters.
    """
    _check_shapes(f"The run for {path}", run)
    losses = io.BytesIO()
    np.save(losses, run.losses, allow_pickle=False)
    training = _prefixed("last.", run.last)
    training |= _prefixed("mean.", run.mean) | _prefixed("variance.", run.variance)
    tensors = zip(TENSOR_FILES, (run.params, training, run.fixed), strict=True)
    files = {name: _to_safetensors(arrays) for name, arrays in tensors}
    files[LOSSES_FILE] = losses.getvalue()
    header = {
        "format": FORMAT,
        "config": run.config,
        "data": run.data,
        "versions": run.versions,
        "step": run.step,
        "limits": run.limits,
        "files": {name: _checksum(content) for name, content in files.items()},
    }
    text = json.dumps(header, indent=2, allow_nan=False) + "\n"
    with written_whole(path) as directory:
        directory.mkdir()
        for name, content in files.items():
            (directory / name).write_bytes(content)
        (directory / "run.json").write_text(text, encoding="utf-8")


def load_run(path: Path) -> SavedRun:
    """Read the run directory `path`, every file checked against its checksum.

    Raises:
        InputError: `path` is no run directory, one of another format version, or a file in it is
            missing, truncated or altered.
    """
    path = Path(path)
    header = _read_header(path)
    contents = {name: _read_checked(path, name, header["files"]) for name in header["files"]}
    params, training, fixed = (
        _from_safetensors(path / name, contents[name]) for name in TENSOR_FILES
    )
    run = SavedRun(
        config=header["config"],
        data=header["data"],
        versions=header["versions"],
        params=params,
        last=_unprefixed("last.", training),
        mean=_unprefixed("mean.", training),
        variance=_unprefixed("variance.", training),
        fixed=fixed,
        losses=_read_losses(path / LOSSES_FILE, contents[LOSSES_FILE]),
        step=header["step"],
        limits=header.get("limits", {}),
    )
    _check_shapes(str(path), run)
    return run


def _read_header(path: Path) -> dict[str, Any]:
    """`run.json`, its format version, keys and list of files checked."""
    if not path.is_dir():
        what = "is a file, not a directory" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}: expected a run directory, as `twinplate fit` writes it.")
    if not (path / "run.json").is_file():
        raise InputError(f"{path} is not a run directory: it holds no run.json.")
    try:
        header = json.loads((path / "run.json").read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path / "run.json", "it is not valid JSON") from error
    if not isinstance(header, dict) or "format" not in header:
        raise _damaged(path / "run.json", "it names no format version")
    if header["format"] != FORMAT:
        raise InputError(
            f"{path} has format version {header['format']!r}, and this twinplate reads version "
            f"{FORMAT} only: use the twinplate that wrote it."
        )
    for key, kind in RUN_KEYS.items():
        if not isinstance(header.get(key), kind):
            raise _damaged(path / "run.json", f"{key!r} is missing or of the wrong type")
    if set(header["files"]) != {*TENSOR_FILES, LOSSES_FILE}:
        raise _damaged(path / "run.json", "'files' does not list the files of a run")
    return header


def _read_checked(path: Path, name: str, checksums: Mapping[str, str]) -> bytes:
    try:
        content = (path / name).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is incomplete: {name} is missing.") from None
    except OSError as error:
        raise InputError(f"{path / name} cannot be read: {error.strerror or error}.") from error
    if _checksum(content) != checksums[name]:
        raise _damaged(path / name, "it was truncated or altered since the run was written")
    return content


def _read_losses(path: Path, content: bytes) -> np.ndarray:
    try:
        losses = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _damaged(path, "it is not a readable NPY file") from error
    if not isinstance(losses, np.ndarray) or losses.ndim != 1:
        raise _damaged(path, "it does not hold one loss per step")
    return losses


def _to_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    # safetensors writes the buffer as it lies in memory, so it must be in C order. np.ascontiguousarray would
    # do that too, but makes a scalar an array of one number.
    return save({name: np.asarray(value, order="C") for name, value in arrays.items()})


def _from_safetensors(path: Path, content: bytes) -> Arrays:
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, "it is not a readable safetensors file") from error


def _prefixed(prefix: str, arrays: Arrays) -> Arrays:
    return {prefix + name: value for name, value in arrays.items()}


def _unprefixed(prefix: str, arrays: Arrays) -> Arrays:
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }


def _check_shapes(where: str, run: SavedRun) -> None:
    expected = {name: value.shape for name, value in run.params.items()}
    groups = {
        "last parameters": run.last,
        "optimiser's mean": run.mean,
        "optimiser's variance": run.variance,
    }
    for which, values in groups.items():
        given = {name: value.shape for name, value in values.items()}
        wrong = sorted(set(expected.items()) ^ set(given.items()))
        if wrong:
            name = wrong[0][0]
            raise InputError(
                f"{where} is inconsistent: the {which} of {name!r} has shape "
                f"{given.get(name)} and the parameter {expected.get(name)}; they must be equal."
            )


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged: {why}. Restore it from a copy, or run the fit again.")
