"""Whether a step is being recorded: what a program of this package then does otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PURPOSE: ContextVar[str] = ContextVar("_PURPOSE", default="")


def is_captured() -> bool:
    """A step is being recorded; an eager one came before, which has made all checks."""
    return bool(_PURPOSE.get())


def is_for_a_compiler() -> bool:
    """The recorded step is to be machine code: what a compiler makes fast is to be preferred."""
    return _PURPOSE.get() == "machine code"


@contextmanager
def capturing(machine_code: bool) -> Iterator[None]:
    """While a step is recorded, to be replayed or compiled."""
    token = _PURPOSE.set("machine code" if machine_code else "replay")
    try:
        yield
    finally:
        _PURPOSE.reset(token)
