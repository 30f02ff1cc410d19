"""What a file of this folder makes, and how it is found: `make()` in `programs/NAME.py`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pyro
from pyro.infer import Trace_ELBO

NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "program")
)


class Program(NamedTuple):
    """Made afresh for every run.

    arguments: of the step with this number.  loss: an ELBO, or what `pyro.infer.SVI` takes in its place.
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    arguments: Callable[[int], tuple[Any, ...]]
    loss: Any = Trace_ELBO()
    optim: Callable[[], Any] = lambda: pyro.optim.Adam({"lr": 0.01})


def load(name: str) -> Program:
    """The program of a file; it draws its data and its first parameters from torch's generator."""
    made: Program = import_module(f"programs.{name}").make()
    return made
