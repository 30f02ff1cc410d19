"""Why a program is not compiled."""

from __future__ import annotations


class CannotCompileError(Exception):
    """The program has to run eagerly; the message says why."""
