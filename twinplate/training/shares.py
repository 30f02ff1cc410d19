"""Several workers that take each mini-batch together: the part of each, and whether all know the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinplate.errors import InputError


class LostProcessError(RuntimeError):
    """A step of several processes cannot be taken: one of them has ended, or no longer answers."""


@dataclass(frozen=True)
class Workers:
    """This worker among all of them.

    rank: from 0 to size - 1.  gather: given a value of this worker, the values of all by rank.

    >>> three = [Workers(rank, 3, lambda value: [value]) for rank in range(3)]
    >>> [worker.share(8) for worker in three]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
    """

    rank: int
    size: int
    gather: Callable[[Any], list[Any]]

    def share(self, number: int) -> slice:
        """This worker's part of `number` rows: consecutive ones; the first workers have one more."""
        least, more = divmod(number, self.size)
        start = self.rank * least + min(self.rank, more)
        return slice(start, start + least + (self.rank < more))

    def check_batches(self, batch_size: int) -> None:
        """Raise InputError where a worker would have no item of a mini-batch."""
        if batch_size < self.size:
            raise InputError(
                f"batch_size is {batch_size} and {self.size} processes share it; expected one item or more "
                "for each: give a larger batch_size, or fewer processes"
            )


def check_alike(given: Sequence[Mapping[str, str]]) -> None:
    """Raise InputError where a worker was given something else than worker 0.

    given: by rank, `digest` of each argument by its name.
    """
    for rank, theirs in enumerate(given):
        other = [name for name in given[0] if theirs.get(name) != given[0][name]]
        if other:
            raise InputError(
                f"the process of rank {rank} was given another {' and another '.join(other)} than that of "
                "rank 0; expected the same arguments in all processes of a group"
            )


def digest(value: Any) -> str:
    """Of arrays, numbers, texts, and dictionaries and dataclasses of them: the same for equal ones."""
    found = hashlib.sha256()
    _add(found, value)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        found.update(
            f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
        )
    elif isinstance(value, Mapping):
        for name in sorted(value):
            found.update(f"{name}:".encode())
            _add(found, value[name])
    elif hasattr(value, "__dataclass_fields__"):
        _add(found, {name: getattr(value, name) for name in value.__dataclass_fields__})
    else:
        found.update(f"{value!r};".encode())
