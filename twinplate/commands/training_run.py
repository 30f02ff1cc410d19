"""The training of a run that is on disk, new or gone on with, up to what is printed of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from twinplate.backends import load_backend
from twinplate.commands.checkpoints import Checkpoints
from twinplate.commands.devices import Devices
from twinplate.commands.fit_summary import print_summary
from twinplate.commands.offset_column import offsets_of_run
from twinplate.commands.run_data import items_of_run
from twinplate.commands.stopping import Stop, stoppable
from twinplate.commands.told import tell
from twinplate.data.blocks import Array
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.progress import training_progress
from twinplate.training.checks import RoundingWarning
from twinplate.training.errors import TrainingError, TrainingInterrupted
from twinplate.training.loop import train
from twinplate.training.run_directory import RunWriter, left_to_another, versions
from twinplate.training.run_format import SavedRun
from twinplate.training.state import Fit


def until_stopped(path: Path, work: Callable[[Stop], None]) -> int:
    """Do the work for the run `path`; the exit code, after a word where a signal ended it."""
    with stoppable() as stop:
        try:
            work(stop)
        except KeyboardInterrupt as interrupt:
            saved = f"what was reached is saved in {path}"
            what = saved if path.exists() else "nothing was reached that could be saved"
            happened = str(interrupt) or "interrupted"
            tell(Console(stderr=True), f"twinplate: {happened}, by {stop.name}; {what}")
            return stop.exit_code
    return 0


def train_and_keep(
    writer: RunWriter,
    x: Matrix,
    every: float,
    console: Console,
    stop: Stop,
    devices: Devices,
    offsets: Array | None = None,
) -> dict[str, Any] | None:
    """Take the steps of the run that are left, keep it on the way and in the end, print what came out.

    What came out is given back for JSON, by the process that prints.

    devices: that mini-batches are spread over.  offsets: (N,), where they stand in a column of the data.

    Raises InputError where training cannot go on, or what it reached cannot be written.
    """
    run = replace(writer.run, versions=versions())
    program, training, backend = run.program, run.training, run.config["backend"]
    implementation = load_backend(backend)

    def keep(fit: Fit) -> None:
        with stop.held_off():
            writer.checkpoint(extended(run, fit))

    def finish(fit: Fit) -> None:
        with stop.held_off():
            writer.finish(extended(run, fit))

    checkpoints = Checkpoints(every, keep, lambda text: tell(Console(stderr=True), text))
    title = f"{program.config.guide} guide, {backend}"
    try:
        with training_progress(title, training.steps, training.batch_size) as report:
            progress = stop.checked_after(report)
            with _told_of_rounding(console, run):
                trainer = implementation.Trainer(
                    *(x, program, training), state=run.state, offsets=offsets, **devices.options
                )
            fit = train(trainer, trainer.plan(), progress, checkpoints)
            devices.leave()
    except TrainingInterrupted as interrupt:
        if interrupt.fit.state.step > run.step:
            finish(interrupt.fit)
        raise
    except TrainingError as error:
        finish(error.fit)
        raise InputError(f"{error}. What was reached is saved in {writer.path}") from error
    finish(fit)
    stop.check()
    if not devices.is_first:
        return None
    fit = replace(fit, losses=writer.run.losses, notes=writer.run.notes)
    guide = implementation.posterior_blocks(x, program, fit.params, offsets=offsets)
    nats = print_summary(console, x, program, fit, guide, training.objective, offsets)
    for note in fit.notes:
        tell(console, f"Note: {note}")
    if fit.compile_seconds:
        console.print(f"Compiling took {fit.compile_seconds:.1f} s")
    tell(console, f"Saved the run in {writer.path}")
    return {
        "run": str(writer.path),
        "backend": backend,
        "items": x.shape[0],
        "features": x.shape[1],
        "steps": writer.run.step,
        "loss": float(fit.losses[-100:].mean()),
        "nats_per_item": nats,
        "notes": list(fit.notes),
        "compile_seconds": fit.compile_seconds,
    }


@contextmanager
def _told_of_rounding(console: Console, run: SavedRun) -> Iterator[None]:
    """Say a RoundingWarning by the names of the run's columns; other warnings are as they were."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", RoundingWarning)
        yield
    for warning in found:
        if isinstance(warning.message, RoundingWarning):
            tell(console, f"Note: {warning.message.told(run.data['columns'])}")
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def follow(
    data: Path, path: Path, every: float, console: Console, stop: Stop, devices: Devices
) -> None:
    """Take the steps of the run `path` along, in a process that is not of rank 0.

    It is given the run, and of `data` that are on disk it reads its own rows. Raises InputError where rank 0
    has found nothing to be trained.
    """
    run = devices.hand(None)
    if run is None:
        raise InputError("the process of rank 0 stopped before the first step, and says why")
    x = items_of_run(data, run)
    with left_to_another(path, run) as writer:
        offsets = offsets_of_run(data, run, run.data.get("selected", ()))
        train_and_keep(writer, x, every, console, stop, devices, offsets)


def extended(run: SavedRun, fit: Fit) -> SavedRun:
    """The run after the further steps of `fit`."""
    state = fit.state
    return replace(
        run,
        params=fit.params,
        last=state.params,
        mean=state.mean,
        variance=state.variance,
        losses=np.concatenate([run.losses, fit.losses]),
        step=state.step,
        limits=state.limits.as_dict(),
        notes=(*run.notes, *fit.notes),
    )
