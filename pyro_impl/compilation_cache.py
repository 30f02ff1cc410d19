"""Machine code of steps is kept on disk, in this user's own cache directory."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from twinplate.user_cache import usable, user_cache

MOST_BYTES = 500_000_000  # a package has two megabytes, those of large programs twenty


def kept_in() -> Path:
    """The directory of compiled programs: `TORCHINDUCTOR_CACHE_DIR`, or this user's own."""
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(chosen) if chosen else cache_directory()


def cache_directory() -> Path:
    """Where this user's caches are by the platform's convention, and in there twinplate's of torch."""
    return user_cache("torch")


def packages() -> Path:
    """The directory of packages; one for this process alone where files cannot be made in the usual one."""
    try:
        path = kept_in().absolute() / "packages"
    except RuntimeError:  # there is no home
        return _own_directory()
    return path if usable(path) else _own_directory()


@cache
def _own_directory() -> Path:
    path, owner = tempfile.mkdtemp(prefix="twinplate-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked process has the same exit functions
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return Path(path)
