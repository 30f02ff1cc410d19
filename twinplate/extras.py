"""Packages that come with an extra, imported when something needs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from twinplate.errors import InputError


def import_extra(module: str, package: str, extra: str = "all") -> ModuleType:
    """Import `module` of `package`, of `extra`. Raises InputError, naming the extra, where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"this needs {package}, which cannot be imported; install it with: "
            f"pip install 'twinplate[{extra}]'"
        ) from error
