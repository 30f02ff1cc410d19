"""What `twinplate fit --resume` does: a run goes on where it was killed, stopped or finished."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from twinplate.backends import BACKENDS
from twinplate.commands.answer import write_json
from twinplate.commands.checkpoints import EVERY, check_interval
from twinplate.commands.devices import check_count, chosen_devices
from twinplate.commands.offset_column import offsets_of_run
from twinplate.commands.stopping import Stop
from twinplate.commands.told import tell
from twinplate.commands.training_run import follow, train_and_keep, until_stopped
from twinplate.commands.workers import followed, launched
from twinplate.data.blocks import Array
from twinplate.data.columns import Fitted
from twinplate.data.readers import load_matrix
from twinplate.data.table import Table, fingerprint
from twinplate.errors import InputError
from twinplate.progress import rows_progress
from twinplate.training.run_directory import (
    RunWriter,
    read_newest,
    reopened,
)
from twinplate.training.run_format import SavedRun
from twinplate.words import counted


@dataclass(frozen=True)
class ResumeRequest:
    """The options of `twinplate fit --resume`.

    steps: in all, if there are to be more of them than the run was begun with.
    backend: that takes them, if it is another one than the run was begun with.
    devices: over which mini-batches are spread; by default they are on one, whatever they were on before.
    json: where what was found is written.
    """

    data: Path
    run: Path
    steps: int | None = None
    backend: str | None = None
    checkpoint_every: float = EVERY
    devices: int | None = None
    json: Path | None = None


def run_resume(request: ResumeRequest, console: Console) -> int:
    """Go on with the run; the exit code, as for `run_fit`.

    Configuration, columns and seed are the run's, and `data` must be what it was fitted to. Losses and
    parameters are those of a run that was never stopped, to the bit with the same backend. With more steps
    than before, the learning rate goes on with the cosine of the new number of steps, from the present one.

    Raises InputError for whatever cannot be used, for other data, for a run that another process is training
    and for one that has no steps left.
    """
    if (code := followed(request.data)) is not None:
        return code
    check_interval(request.checkpoint_every)
    run = read_newest(request.run).run
    run.check_told()
    config = run.config
    if (request.backend or config.get("backend")) not in BACKENDS:
        raise InputError(f"{request.run} names no backend; say by --backend which is to go on")
    check_count(request.devices, config["training"]["batch_size"])
    backend, device = request.backend or config["backend"], config["training"]["device"]
    if (code := launched(backend, device, request.devices, request.run)) is not None:
        return code
    return until_stopped(request.run, partial(_go_on, request, console))


def _go_on(request: ResumeRequest, console: Console, stop: Stop) -> None:
    kept = read_newest(request.run).run
    backend = request.backend or kept.config["backend"]
    devices = chosen_devices(backend, kept.training.device, request.devices)
    way = request.checkpoint_every, console, stop, devices
    if not devices.is_first:
        follow(request.data, request.run, *way)
        return
    with devices.handing() as hand, reopened(request.run) as writer:
        for sentence in writer.damage:
            tell(Console(stderr=True), sentence)
        run = _continued(request, writer)
        table, offsets = _data(request, run), _offsets(request, run)
        step = f"step {run.step} of {run.training.steps}"
        tell(console, f"Going on with {request.run} after {step}")
        if run is not writer.run:  # what is asked for stays so, whatever happens next
            writer.checkpoint(run)
        hand(writer.run)
        found = train_and_keep(writer, table.x, *way, offsets)
    write_json(request.json, found)


def _continued(request: ResumeRequest, writer: RunWriter) -> SavedRun:
    """The run with the steps and the backend that are asked for."""
    run = writer.run
    before = run.training.steps
    steps = before if request.steps is None else request.steps
    if steps < before:
        raise InputError(
            f"--steps is {steps} but {request.run} was begun with {before}; expected that many or more"
        )
    if run.step >= steps:
        raise InputError(
            f"{request.run} is finished, after {counted(run.step, 'step')}; give more by --steps to go on"
        )
    backend = request.backend or run.config["backend"]
    if (steps, backend) == (before, run.config["backend"]):
        return run
    training = replace(run.training, steps=steps).as_dict()
    return replace(run, config={**run.config, "backend": backend, "training": training})


def _offsets(request: ResumeRequest, run: SavedRun) -> Array | None:
    """Those of the run's column. Raises InputError for others than those of then."""
    found = offsets_of_run(request.data, run, run.data.get("selected", ()))
    if found is not None and fingerprint(found[:, None]) != run.data["offset_fingerprint"]:
        raise InputError(
            f"column {run.data['offset']!r} of {request.data} holds other offsets than {request.run} was "
            "fitted with; give the file of then"
        )
    return found


def _data(request: ResumeRequest, run: SavedRun) -> Table:
    """The data of the run, found by the names of its columns. Raises InputError for other data."""
    known = Fitted.of(run.data)
    with rows_progress(f"Checking {request.data.name}") as progress:
        table = load_matrix(
            request.data,
            progress,
            known.choose,
            fingerprinted=True,
            layer=known.layer,
            items=run.data.get("selected", ()),
        )
    if table.fingerprint != run.data["fingerprint"]:
        items, features = table.x.shape
        raise InputError(
            f"{request.data} is not what {request.run} was fitted to: its {counted(items, 'item')} and "
            f"{counted(features, 'feature')} have another fingerprint; give the file of then, with "
            f"{counted(run.data['num_items'], 'item')} and {counted(run.data['num_features'], 'feature')}"
        )
    return table
