"""A run in five files, the same whichever framework wrote it:

    run.json               format version, configuration, data, versions, step, checksums of files
    params.safetensors     learned parameters, under neutral names and in the neutral layout
    optimizer.safetensors  where training stands, to go on from: `last.NAME`, the parameters after the
                           last step, and Adam's first and second moments, `mean.NAME`, `variance.NAME`
    fixed.safetensors      generative parameters that were given rather than learned
    losses.npy             the loss of every step taken

Nothing in them is trusted: reading unpickles and evaluates nothing, follows no link, and takes about as much
memory as the files are large. `twinplate.training.run_directory` says where these files lie.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from twinplate.errors import InputError
from twinplate.files import write_durably
from twinplate.host import host_memory
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.program import ReferenceProgram
from twinplate.training.run_header import (
    FORMAT,
    HEADER_FILE,
    LOSSES_FILE,
    TENSOR_FILES,
    checksum,
    damaged,
    read_content,
    read_header,
    sealed,
)
from twinplate.training.state import Limits, TrainingState

Arrays: TypeAlias = dict[str, np.ndarray]

LOSSES_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<>]f[48])', 'fortran_order': False, 'shape': \((\d{1,15}),\), \} *\n",
    re.DOTALL,
)


@dataclass(frozen=True, eq=False)
class SavedRun:
    """Everything that a run directory holds. `load_run` reads one.

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
    notes: `Fit.notes` so far.
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
    notes: tuple[str, ...] = ()

    @classmethod
    def of_state(
        cls,
        state: TrainingState,
        config: dict[str, Any],
        data: dict[str, Any],
        versions: dict[str, str],
        program: ReferenceProgram,
        losses: np.ndarray,
        notes: tuple[str, ...] = (),
    ) -> SavedRun:
        """Of where training stands; the other arguments as above."""
        return cls(
            config=config,
            data=data,
            versions=versions,
            params=state.average,
            last=state.params,
            mean=state.mean,
            variance=state.variance,
            fixed=program.fixed,
            losses=losses,
            step=state.step,
            limits=state.limits.as_dict(),
            notes=notes,
        )

    @property
    def program(self) -> ReferenceProgram:
        """What was fitted. Raises InputError where another version wrote something else."""
        with _readable():
            config = ProgramConfig.from_dict(self.config["program"])
            _check_fixed(config, self.fixed)
            return ReferenceProgram.from_fixed(config, self.fixed)

    @property
    def training(self) -> TrainingConfig:
        """How it was fitted. Raises InputError where another version wrote something else."""
        with _readable():
            return TrainingConfig(**self.config["training"])

    @property
    def state(self) -> TrainingState:
        """For `fit` to go on from."""
        groups = (self.last, self.mean, self.variance, self.params)
        return TrainingState(*groups, self.step, Limits(**self.limits))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the features. Raises InputError where another version wrote something else."""
        with _readable():
            return tuple(self.data["columns"])

    def check_told(self) -> None:
        """Raise InputError unless it says what `twinplate fit` says of program, training and data."""
        with _readable():
            assert self.program and self.training
            needed = {"columns", "fingerprint", "num_items", "num_features"}
            needed |= {"offset_fingerprint"} if "offset" in self.data else set()
            if needed - self.data.keys():
                raise KeyError(min(needed - self.data.keys()))

    @property
    def is_finished(self) -> bool:
        """Whether all steps of `training` are taken."""
        return self.step >= self.training.steps


def write_files(directory: Path, run: SavedRun) -> None:
    """Write the five files into `directory`, run.json last, and see them to the disk.

    Raises InputError where last parameters or moments do not match the fitted parameters, and the OSError
    of a file system that refuses.
    """
    for name, content in encoded(f"The run for {directory.name}", run).items():
        write_durably(directory / name, content)


def encoded(where: str, run: SavedRun) -> dict[str, bytes]:
    """What is in the five files, by name, run.json last. Raises as `write_files`."""
    _check_shapes(where, run)
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
        "notes": list(run.notes),
        "files": {name: checksum(content) for name, content in files.items()},
    }
    return {**files, HEADER_FILE: sealed(header)}


def read_files(directory: Path) -> SavedRun:
    """What the five files in `directory` hold, each checked against its checksum.

    Raises InputError where they are of another format version, or one is missing, truncated or altered.
    """
    header = read_header(directory)
    contents = {name: _read_checked(directory, name, header["files"]) for name in header["files"]}
    params, training, fixed = (
        _from_safetensors(directory / name, contents[name]) for name in TENSOR_FILES
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
        losses=_read_losses(directory / LOSSES_FILE, contents[LOSSES_FILE]),
        step=header["step"],
        limits=header.get("limits", {}),
        notes=tuple(header.get("notes", ())),
    )
    _check_shapes(str(directory), run)
    return run


def _check_fixed(config: ProgramConfig, fixed: Arrays) -> None:
    by_feature = "center", "spread", "unit", "concentration", "means"
    sizes = dict.fromkeys(by_feature, config.num_features)
    for name, size in (sizes | {"width": config.num_components, "offset_units": 2}).items():
        if name in fixed and fixed[name].shape != (size,):
            raise InputError(f"{name} has shape {fixed[name].shape}; expected {(size,)}")
    if config.likelihood == "negative-binomial" and "concentration" not in fixed:
        raise InputError("concentration is missing")
    if config.has_offsets and "offset_units" not in fixed:
        raise InputError("offset_units is missing")


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """A context in which what a run says of itself is understood."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"this version of twinplate cannot read the run ({error}); fit it again"
        ) from error


def _read_checked(path: Path, name: str, checksums: Mapping[str, str]) -> bytes:
    found = read_content(path / name, host_memory())
    if checksum(found) != checksums[name]:
        raise damaged(path / name, "it was truncated or altered since the run was written")
    return found


def _read_losses(path: Path, found: bytes) -> np.ndarray:
    """The losses, by the one header that `np.save` gives them; NumPy's own reader evaluates what it finds."""
    header = LOSSES_HEADER.match(found)
    if header is None:
        raise damaged(path, "it does not hold one loss per step")
    dtype, count = np.dtype(header[1].decode()), int(header[2])
    if len(found) - header.end() != count * dtype.itemsize:
        raise damaged(path, "it does not hold as many losses as it says")
    return np.frombuffer(found, dtype, offset=header.end()).copy()


def _to_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    # safetensors writes the buffer as it lies in memory, so it must be in C order. np.ascontiguousarray would
    # do that too, but makes a scalar an array of one number.
    return save({name: np.asarray(value, order="C") for name, value in arrays.items()})


def _from_safetensors(path: Path, found: bytes) -> Arrays:
    try:
        arrays = load(found)
    except (SafetensorError, KeyError, ValueError) as error:
        raise damaged(path, "it is not a readable safetensors file") from error
    if any(values.dtype.kind != "f" for values in arrays.values()):
        raise damaged(path, "it holds other numbers than reals")
    return arrays


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
