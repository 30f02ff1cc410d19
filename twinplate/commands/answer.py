"""What a command finds, as JSON: in a file, or alone on stdout while all words go to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

import typer

from twinplate.files import require_place, write_text

STDOUT = Path("-")

_stdout: ContextVar[TextIO | None] = ContextVar("stdout", default=None)


def json_place(given: typer.Context, place: Path | None) -> Path | None:
    """The place, checked before the work; for STDOUT whatever the command prints goes to stderr from now on.

    What a user's program prints does so too. Raises InputError for what cannot be written.
    """
    if place == STDOUT:
        _stdout.set(sys.stdout)
        given.with_resource(redirect_stdout(sys.stderr))
    elif place is not None:
        require_place(place)
    return place


def write_json(place: Path | None, data: Any) -> None:
    """Write `data`, whole or not at all; nothing without a place. Raises InputError.

    A number that is not finite, which JSON does not know, is written as null.
    """
    text = json.dumps(_strict(data), indent=2, allow_nan=False) + "\n"
    if place == STDOUT:
        file = _stdout.get() or sys.stdout
        file.write(text)
        file.flush()
    elif place is not None:
        write_text(place, text)


def _strict(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, Mapping):
        return {name: _strict(value) for name, value in data.items()}
    return [_strict(value) for value in data] if isinstance(data, list | tuple) else data
