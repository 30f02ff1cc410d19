"""This user's own directory of what can be made again, by the platform's convention."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import platformdirs


def user_cache(name: str) -> Path:
    """Where `name`, such as "jax", is kept; it need not exist."""
    # platformdirs asks Windows itself, and would pass over what the user set.
    chosen = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    if chosen:
        return Path(chosen, "twinplate", name)
    return platformdirs.user_cache_path("twinplate", appauthor=False, opinion=False) / name


def usable(directory: Path) -> bool:
    """Whether files can be made in it; it is made for this user alone if need be."""
    try:
        if not directory.is_absolute():  # no home, by older releases of platformdirs
            return False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # not writable
        return False
    return os.access(directory, os.W_OK | os.X_OK)


def make_room(directory: Path, most_bytes: int) -> None:
    """Remove the files that nobody has used for longest, until the others have at most `most_bytes`.

    Files that went meanwhile, or that cannot be removed, are passed over.
    """
    files: list[tuple[os.stat_result, str]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                files += [(entry.stat(), entry.path)] if entry.is_file() else []
    kept = 0
    # Some disks do not say when a file was read last.
    for status, path in sorted(files, key=lambda file: -max(file[0].st_atime, file[0].st_mtime)):
        kept += status.st_size
        if kept > most_bytes:
            with suppress(OSError):
                os.unlink(path)
