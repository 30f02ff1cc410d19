"""Asking for help takes no time: what computes is imported when it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import twinplate

WINGS = {
    "backends",
    "cli",
    "commands",
    "errors",
    "files",
    "host",
    "lazily",
    "words",
}  # small and without NumPy
HEAVY = {"importlib.metadata", "numpy", "pydantic.fields", "rich.progress", "scipy"}


def test_the_command_line_imports_little() -> None:
    asked = "import sys, twinplate.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert {name.split(".")[1] for name in modules if name.startswith("twinplate.")} == WINGS
    assert HEAVY & {*modules} == set()


def test_the_public_names_are_there_when_they_are_asked_for() -> None:
    assert {"fit", "Case"} & {*dir(twinplate)} == {"Case"}
    assert all(
        getattr(twinplate, name).__module__.startswith("twinplate.") for name in twinplate.__all__
    )
    with pytest.raises(AttributeError, match="module 'twinplate' has no attribute 'nothing'"):
        twinplate.nothing  # noqa: B018
