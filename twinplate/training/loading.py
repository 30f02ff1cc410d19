"""A run directory as the fit that it was saved from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twinplate.data.columns import Fitted
from twinplate.training.run_directory import load_run
from twinplate.training.run_format import SavedRun
from twinplate.training.state import Fit


def load(path: Path | str) -> Fit:
    """The fit in the run directory `path`, or what it has reached so far; no framework is needed.

    Training goes on from its `state`, in either framework:
    `fit(x, found.program, training, state=found.state)`.

    Warns where the last checkpoint is damaged and the one before is read. Raises InputError where `path` is
    no run directory, is damaged, or is of another version.

    >>> from twinplate import load
    >>> load("nowhere")
    Traceback (most recent call last):
    twinplate.errors.InputError: nowhere does not exist: expected a run ...
    """
    return fit_of(load_run(Path(path)))


def fit_of(run: SavedRun) -> Fit:
    """The fit in `run`. Raises InputError where its program cannot be made."""
    columns = Fitted.of(run.data)
    program = replace(run.program, features=columns.columns if columns.named else ())
    return Fit(run.state, run.losses, program=program, notes=run.notes)
