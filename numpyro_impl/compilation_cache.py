"""What XLA compiles is kept on disk, where the next process finds it: compiling is most of what runs cost.

A program is found by its text, which must not be another one in each process. NumPyro's `Trace_ELBO` goes
through a set of the names of sites, whose order Python draws anew when it starts
(https://docs.python.org/3/reference/datamodel.html#object.__hash__); here it is that of the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from numpyro.infer import elbo

from twinplate.user_cache import make_room, usable, user_cache

MIN_SECONDS = 0.0
MOST_BYTES = (
    1_000_000_000  # a fit has some ten megabytes; JAX's own limit lists all files at each new one
)


@contextmanager
def kept_compilations() -> Iterator[None]:
    """While this lasts, what is traced is text that any process makes, and what is compiled is kept or found.

    By JAX's persistent compilation cache, in this user's own directory; the user's settings afterwards. A
    cache that the user chose (`JAX_COMPILATION_CACHE_DIR`) or switched off stays as it is, and where the
    directory cannot be written nothing is kept.
    """
    with _sets_in_order, _cache_on_disk():
        yield


class _SetInOrder(set[Any]):
    """What NumPyro's ELBOs are given for `set`, whose methods they also call on sets of Python's."""

    def union(self, *others: Iterable[Any]) -> Any:
        return sorted(set.union(self, *others), key=repr)  # names need not all be strings


class _SetsInOrder:
    """While any thread is within, `set` of NumPyro's ELBOs has an order."""

    def __init__(self) -> None:
        self._lock, self._within = Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._within += 1
            vars(elbo)["set"] = _SetInOrder

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                del vars(elbo)["set"]


_sets_in_order = _SetsInOrder()


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
    _make_room_once(path)
    least = config.jax_persistent_cache_min_compile_time_secs
    _set(str(path), MIN_SECONDS)
    try:
        yield
    finally:
        _set(None, least)
        reset_cache()  # JAX would keep the directory that it has opened


@cache
def _make_room_once(directory: Path) -> None:
    """At the first use of a process: a list of all files is not for every one."""
    make_room(directory, MOST_BYTES)


def kept_in() -> Path:
    """The directory of compiled programs: the one that the user chose, or this user's own."""
    config: Any = jax.config
    return Path(config.jax_compilation_cache_dir or cache_directory())


def cache_directory() -> Path:
    """Where this user's caches are by the platform's convention, and in there twinplate's of JAX."""
    return user_cache("jax")


def _usable_directory() -> Path | None:
    """The directory, made for this user alone if need be; None where files cannot be made in it."""
    try:
        path = cache_directory()
    except RuntimeError:  # there is no home, by newer releases of platformdirs
        return None
    return path if usable(path) else None


def _set(directory: str | None, min_seconds: float) -> None:
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", min_seconds)
