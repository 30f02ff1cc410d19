"""The run directory: what a fit has reached, from its first moment on, wherever its process ends.

A run that ended in order is the five files of `twinplate.training.run_format`. While it runs, and where it
was killed, the same five lie in directories below:

    checkpoint-00000007/   the last one
    checkpoint-00000006/   the one before, should the last be damaged
    .lock                  held by the process that writes
    .*.tmp                 what was being written

Where checkpoints are, the newest that is whole counts. Each is written under another name, seen to the disk
and only then named, so at every moment there is one; `finish` writes the five files of the run itself, which
count once the checkpoints are gone.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from twinplate.errors import InputError
from twinplate.files import discard, sync, temporary_name, written_whole
from twinplate.training.run_format import SavedRun, encoded, read_files, write_files
from twinplate.training.run_header import HEADER_FILE
from twinplate.user_code import warn_user

FRAMEWORKS = ("torch", "pyro-ppl", "jax", "numpyro", "flax", "optax")
LOCK = ".lock"
CHECKPOINT = re.compile("checkpoint-[0-9]{8,}")
TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


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
    encoded(f"The run for {path}", run)  # what cannot be written is refused before anything is
    with _made(path) as directory:
        write_files(directory, run)
        sync(directory)


def check_is_no_run(path: Path) -> None:
    """Raise InputError for a path that holds a run, which a new one would not replace."""
    if path.is_dir() and (_checkpoints(path) or (path / HEADER_FILE).is_file()):
        raise InputError(
            f"{path} holds a run, which exists already: go on with it by --resume {path}, choose another "
            "output path or remove it first."
        )


def load_run(path: Path) -> SavedRun:
    """Read the run directory `path`, finished or not, every file checked against its checksum.

    Warns where the last checkpoint is damaged and the one before is read.

    Raises:
        InputError: `path` is no run directory, one of another format version, or a file in it is
            missing, truncated or altered.
    """
    found = read_newest(path)
    for sentence in found.damage:
        warn_user(sentence, UserWarning)
    return found.run


class Newest(NamedTuple):
    """The newest whole run in a run directory.

    place: of its five files.  damage: what is newer and damaged, in sentences.
    """

    run: SavedRun
    place: Path
    damage: tuple[str, ...]


def read_newest(path: Path) -> Newest:
    """As `load_run`, which warns of what is damaged."""
    path = Path(path)
    if not path.is_dir():
        what = "is a file, not a directory" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}: expected a run directory, as `twinplate fit` writes it.")
    while True:
        names = _checkpoints(path)
        places = [path / name for name in reversed(names)]
        if (path / HEADER_FILE).is_file():
            places.append(path)
        if not places:
            raise InputError(f"{path} is not a run directory: it holds no run.json.")
        damage: list[InputError] = []
        for place in places:
            try:
                if place != path and place.is_symlink():
                    raise InputError(f"{place} is a link, and no checkpoint.")
                run = read_files(place)
            except InputError as error:
                damage.append(error)
                continue
            left = f"{place.name}, of step {run.step}, is read instead"
            return Newest(run, place, tuple(f"{error} {left}" for error in damage))
        if names == _checkpoints(path):  # else they were replaced while they were read
            raise damage[0]


class RunWriter:
    """A run directory that is this process's alone to write to; `begun` and `reopened` make one.

    run: what it holds.  damage: what is newer than that and damaged, in sentences.
    is_used: whether anything was to be kept.
    """

    def __init__(self, path: Path, found: Newest) -> None:
        self.path = path
        self.run, self._place, self.damage = found
        self.is_used = False

    def checkpoint(self, run: SavedRun) -> None:
        """Keep what was reached, beside what was before. Raises InputError where it cannot be written."""
        self.is_used = True
        with _refused(self.path, run):
            earlier = _checkpoints(self.path)
            place = _write_checkpoint(self.path, earlier, run)
            for name in earlier:
                if name != self._place.name:  # the last but one, or one that is damaged
                    discard(self.path / name)
            self.run, self._place = run, place

    def finish(self, run: SavedRun) -> None:
        """Leave the run as the five files and nothing else. Raises InputError where it cannot be written.

        Whatever happens on the way, the directory holds what was reached: a checkpoint, until the
        files are complete.
        """
        self.checkpoint(run)
        with _refused(self.path, run):
            # Over those of before, which do not count beside a checkpoint.
            write_files(self.path, run)
            sync(self.path)
            for name in _checkpoints(self.path):
                if not discard(self.path / name):
                    break  # the newest, which is this run, has to be the last to go


@contextlib.contextmanager
def begun(path: Path, run: SavedRun) -> Iterator[RunWriter]:
    """Make the directory `path` of a run that is about to start, and hold it.

    Where an error or an interrupt comes before anything was to be kept, the directory is removed.
    Raises InputError where `path` exists or cannot be written.
    """
    path = Path(path)
    encoded(f"The run for {path}", run)
    with _made(path) as directory:
        _write_checkpoint(directory, [], run)
    with _held(path):
        writer = RunWriter(path, read_newest(path))
        try:
            yield writer
        except BaseException:
            if not writer.is_used:
                discard(path)
            raise


@contextlib.contextmanager
def reopened(path: Path) -> Iterator[RunWriter]:
    """Hold the run directory `path` to go on with it; what a killed process left unfinished is removed.

    Raises InputError as `load_run`, and where another process holds it or it cannot be written.
    """
    path = Path(path)
    read_newest(path)  # before anything is written into what may be no run
    with _held(path):
        for name in os.listdir(path):
            if TEMPORARY.fullmatch(name):
                discard(path / name)
        yield RunWriter(path, read_newest(path))


@contextlib.contextmanager
def left_to_another(path: Path, run: SavedRun) -> Iterator[RunWriter]:
    """For a process that trains `run` together with the one that holds `path`: nothing is written here."""
    yield _Unwritten(Path(path), Newest(run, Path(path), ()))


class _Unwritten(RunWriter):
    """A RunWriter that knows what is to be kept and leaves the writing to another process."""

    def checkpoint(self, run: SavedRun) -> None:
        self.run = run

    def finish(self, run: SavedRun) -> None:
        self.run = run


@contextlib.contextmanager
def _made(path: Path) -> Iterator[Path]:
    """Yield a new directory to fill that becomes `path`, on the disk too, or nothing. Raises InputError."""
    with written_whole(path) as directory:
        directory.mkdir()
        yield directory
    try:
        sync(Path(path).absolute().parent)
    except OSError as error:
        discard(Path(path))
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """A context in which no other process writes to the run. A lock ends with its process."""
    if not os.access(path, os.W_OK | os.X_OK):  # asked before the steps, not after
        raise InputError(
            f"{path} cannot be written: no permission to write in it; make it writable, or go on with a copy"
        )
    lock = FileLock(path / LOCK, timeout=0)
    try:
        if (path / LOCK).is_symlink():  # to what would be truncated
            raise OSError(f"{LOCK} is a link")
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{path} is in use: another process is training this run; wait for it, or stop it"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()


def _checkpoints(path: Path) -> list[str]:
    """The names of the checkpoints in a run directory, the oldest first."""
    try:
        return sorted((n for n in os.listdir(path) if CHECKPOINT.fullmatch(n)), key=_number)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _number(name: str) -> int:
    """That of a checkpoint."""
    return int(name.removeprefix("checkpoint-"))


def _write_checkpoint(path: Path, names: list[str], run: SavedRun) -> Path:
    """Write the one after `names`, and where it is: there whole, and on the disk, or not at all."""
    number = 1 + _number(names[-1]) if names else 1
    temporary = path / temporary_name()
    try:
        temporary.mkdir()
        write_files(temporary, run)
        sync(temporary)
        place = path / f"checkpoint-{number:08d}"
        os.replace(temporary, place)
        sync(path)
    except BaseException:
        discard(temporary)
        raise
    return place


@contextlib.contextmanager
def _refused(path: Path, run: SavedRun) -> Iterator[None]:
    """A context in which a file system that refuses is bad input."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"step {run.step} cannot be kept in {path}: {error.strerror or error}; what was kept before is "
            "there, to go on from once this is mended"
        ) from error
