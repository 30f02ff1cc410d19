"""Files and directories that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from twinplate.errors import InputError


def require_new(path: Path) -> None:
    """Raise InputError unless `path` is free and can be created: ask before the work, not after."""
    path = Path(path).absolute()
    if os.path.lexists(path):
        raise InputError(f"{path} exists already: choose another output path or remove it first.")
    ancestor = next(parent for parent in path.parents if os.path.exists(parent))
    if not ancestor.is_dir():
        raise InputError(f"{path} cannot be created: {ancestor} is a file, not a directory.")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be created: no permission to write in {ancestor}.")


def require_place(path: Path) -> None:
    """Raise InputError unless `path` can be a file, new or not: ask before the work, not after."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path} cannot be written: expected a file in a directory that exists")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to fill, a file or a directory, that becomes `path` at the end.

    Parents of `path` are created. Where anything fails, an interrupt included, nothing is left:
    neither the sibling nor the parents created for it.

    Raises:
        InputError: `path` exists, or the file system refuses (permissions, no space left).
    """
    require_new(path)
    path = Path(path).absolute()
    created = [parent for parent in path.parents if not os.path.exists(parent)]
    try:
        with replacing(path) as temporary:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            require_new(path)  # another process may have taken the name meanwhile
    except BaseException:
        for parent in created:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to fill that takes the place of `path` at the end.

    Where anything fails, an interrupt included, what `path` was before stays and nothing else is left.
    A link keeps its name, its target is replaced; what is no file (/dev/stdout) is yielded itself.

    Raises:
        InputError: the file system refuses (permissions, no space left).
    """
    in_place = path.exists() and not path.is_file()
    target = path if in_place else Path(os.path.realpath(path))
    temporary = path if in_place else target.with_name(temporary_name())
    try:
        yield temporary
        if not in_place:
            os.replace(temporary, target)
    except BaseException as error:
        if not in_place:
            _remove(temporary)
        if isinstance(error, OSError):
            raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the file `path`, or make it, whole or not at all. Raises InputError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it; its name may be lost until `sync` of its directory.

    Raises the OSError of a file system that refuses, and of a link, which may lead anywhere.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o666), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(directory: Path) -> None:
    """Wait until the disk has the names that are in `directory`, which Windows does by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> bool:
    """Remove a file or a directory that nobody needs, all of it at once; whether its name is free."""
    gone = path.with_name(temporary_name())
    try:
        os.replace(path, gone)
    except OSError:
        return False
    _remove(gone)
    return True


def temporary_name() -> str:
    """A name that nobody has, of what a killed process may leave behind."""
    return f".{uuid4().hex}.tmp"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # it is not there
            path.unlink()
