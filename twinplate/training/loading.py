"""A run directory as the fit that it was saved from."""

from __future__ import annotations

from pathlib import Path

from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.programs.program import ReferenceProgram
from twinplate.training.run_directory import SavedRun, load_run
from twinplate.training.state import Fit, Limits, TrainingState


def load(path: Path | str) -> Fit:
    """The fit that `twinplate fit` saved in the run directory `path`; no framework is needed.

    Raises InputError where `path` is no run directory, is damaged, or is of another version.

    >>> from twinplate import load
    >>> load("nowhere")
    Traceback (most recent call last):
    twinplate.errors.InputError: nowhere does not exist: expected a run ...
    """
    path = Path(path)
    return fit_of(path, load_run(path))


def fit_of(path: Path, run: SavedRun) -> Fit:
    """The fit in `run`, which was read from `path`. Raises InputError where its program cannot be made."""
    state = TrainingState(
        run.last, run.mean, run.variance, run.params, run.step, Limits(**run.limits)
    )
    features = tuple(run.data["columns"])
    return Fit(state, run.losses, program=program_of(path, run), features=features)


def program_of(path: Path, run: SavedRun) -> ReferenceProgram:
    """The program of `run`, which was read from `path`. Raises InputError where it cannot be made."""
    try:
        config = ProgramConfig.from_dict(run.config["program"])
        return ReferenceProgram.from_fixed(config, run.fixed)
    except (KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{path} is not a run that this version can read ({error}); fit it again"
        ) from error
