"""What every benchmark prints and writes: the facts behind its numbers, its table, its JSON file."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from twinplate.files import write_text
from twinplate.training.run_directory import versions

# Wide enough for every table here, also where the output is a file.
console = Console(width=None if sys.stdout.isatty() else 132)


def facts(**given: Any) -> dict[str, Any]:
    """`given` with the versions and the threads that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = {"cores": cores, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set")}
    return {**given, "threads": threads, "versions": versions()}


def print_facts(values: dict[str, Any]) -> None:
    """One line for each fact."""
    for name, value in values.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {entry}" for key, entry in value.items())
        console.print(f"{name}: {value}", highlight=False, markup=False)


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table whose first column is text and whose others are numbers."""
    table = Table(title=title)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write `content`, whole or not at all; nothing without a path."""
    if path is not None:
        write_text(path, json.dumps(content, indent=1) + "\n")


def compile_once() -> None:
    """Let JAX keep what it compiles for the life of this process: the starts differ only in numbers.

    Call it before JAX is imported. What is run stays the shipped `fit`.
    """
    folder = tempfile.mkdtemp(prefix="jax-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
