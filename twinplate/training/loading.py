"""A run directory as the fit that it was saved from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twinplate.data.columns import Fitted
from twinplate.errors import InputError
from twinplate.programs.parameters import check_params
from twinplate.training.run_directory import load_run
from twinplate.training.run_format import SavedRun
from twinplate.training.state import Fit
from twinplate.words import counted


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
    program, names = run.program, run.columns
    if len(names) != program.config.num_features:
        raise InputError(
            f"the run names {counted(len(names), 'column')} and has "
            f"{counted(program.config.num_features, 'feature')}; expected as many: fit it again"
        )
    program = replace(program, features=names if Fitted.of(run.data).named else ())
    check_params(program, run.params)
    return Fit(run.state, run.losses, program=program, notes=run.notes)
