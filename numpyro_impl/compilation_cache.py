"""What XLA compiles is kept on disk, where the next process finds it: compiling is most of what runs cost.

A program is found by its text, which must not be another one in each process. NumPyro's `Trace_ELBO` goes
through a set of the names of sites, whose order Python draws anew when it starts
(https://docs.python.org/3/reference/datamodel.html#object.__hash__); here it is that of the names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import platformdirs
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from numpyro.infer import elbo

MIN_SECONDS = 0.0


@contextmanager
def kept_compilations() -> Iterator[None]:
    """While this lasts, what is traced is text that any process makes, and what is compiled is kept or found.

    By JAX's persistent compilation cache, in this user's own directory; the user's settings afterwards. A
    cache that the user chose (`JAX_COMPILATION_CACHE_DIR`) or switched off stays as it is, and where the
    directory cannot be written nothing is kept.
    """
    with mock.patch.object(elbo, "set", _SetInOrder, create=True), _cache_on_disk():
        yield


class _SetInOrder(set[str]):
    """What NumPyro's ELBOs are given for `set`."""

    def union(self, *others: Iterable[str]) -> Any:  # type: ignore[override]
        return sorted(super().union(*others))


@contextmanager
def _cache_on_disk() -> Iterator[None]:
    config: Any = jax.config  # which makes its options attributes at run time
    if config.jax_compilation_cache_dir is not None:
        yield
        return
    path = _usable_directory()
    if path is None:
        yield
        return
    least = config.jax_persistent_cache_min_compile_time_secs
    _set(str(path), MIN_SECONDS)
    try:
        yield
    finally:
        _set(None, least)
        reset_cache()  # JAX would keep the directory that it has opened


def kept_in() -> Path:
    """The directory of compiled programs: the one that the user chose, or this user's own."""
    config: Any = jax.config
    return Path(config.jax_compilation_cache_dir or cache_directory())


def cache_directory() -> Path:
    """Where this user's caches are by the platform's convention, and in there twinplate's of JAX."""
    # platformdirs asks Windows itself, and would pass over what the user set.
    chosen = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    if chosen:
        return Path(chosen, "twinplate", "jax")
    return platformdirs.user_cache_path("twinplate", appauthor=False, opinion=False) / "jax"


def _usable_directory() -> Path | None:
    """The directory, made for this user alone if need be; None where files cannot be made in it."""
    try:
        path = cache_directory()
        if not path.is_absolute():  # no home, by older releases of platformdirs; newer ones raise
            return None
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # not writable, or there is no home
        return None
    return path if os.access(path, os.W_OK | os.X_OK) else None


def _set(directory: str | None, min_seconds: float) -> None:
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", min_seconds)
