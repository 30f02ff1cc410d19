"""What the command `fit` does, apart from reading the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from twinplate.commands.answer import write_json
from twinplate.commands.checkpoints import EVERY, check_interval
from twinplate.commands.devices import check_count, chosen_devices
from twinplate.commands.stopping import Stop
from twinplate.commands.told import tell_data
from twinplate.commands.training_run import follow, train_and_keep, until_stopped
from twinplate.commands.workers import followed, launched
from twinplate.data.columns import ALL, Wanted, listed
from twinplate.data.readers import GENERATIVE, load_generative, load_matrix, without_constants
from twinplate.data.table import Missing, Table, check_matrix
from twinplate.errors import InputError
from twinplate.files import require_new
from twinplate.programs.config import LEARNABLE, ProgramConfig, TrainingConfig
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.parameters import initial_params
from twinplate.programs.program import ReferenceProgram, make_program
from twinplate.programs.start import completed_start
from twinplate.progress import rows_progress
from twinplate.training.run_directory import begun, check_is_no_run, versions
from twinplate.training.run_format import SavedRun
from twinplate.training.state import TrainingState
from twinplate.words import counted


@dataclass(frozen=True)
class FitRequest:
    """The options of `twinplate fit` that are neither in ProgramConfig nor in TrainingConfig."""

    data: Path
    out: Path
    backend: str
    guide: str
    covariance: str
    rank: int
    components: int | None
    loadings: Path | None
    missing: Missing
    wanted: Wanted = ALL
    checkpoint_every: float = EVERY
    devices: int | None = None
    json: Path | None = None


def run_fit(request: FitRequest, training: TrainingConfig, console: Console) -> int:
    """Load, check, train, save the run directory and print what came out; the exit code.

    Everything is checked before training starts. While it goes on, what was reached is kept every
    `request.checkpoint_every` seconds. Where it stops early, what it had reached is
    saved all the same, and the error says so; so where Ctrl-C or SIGTERM stops it, for which the exit code is
    130 or 143. Raises InputError for whatever cannot be used.
    """
    if (code := followed(request.data)) is not None:
        return code
    check_is_no_run(request.out)
    require_new(request.out)
    check_interval(request.checkpoint_every)
    check_count(request.devices, training.batch_size)
    code = launched(request.backend, training.device, request.devices, request.out)
    if code is not None:
        return code
    return until_stopped(request.out, partial(_fit_and_save, request, training, console))


def _fit_and_save(
    request: FitRequest, training: TrainingConfig, console: Console, stop: Stop
) -> None:
    devices = chosen_devices(request.backend, training.device, request.devices)
    way = request.checkpoint_every, console, stop, devices
    if not devices.is_first:
        follow(request.data, request.out, *way)
        return
    with devices.handing() as hand:
        table, program = prepare(request)
        training = training.for_items(len(table.x))
        by_place = f"{request.data.name} names no columns, so they go by their place"
        tell_data(console, table, listed(table.columns) if table.named else by_place)
        with begun(request.out, _start(request, training, table, program)) as writer:
            hand(writer.run)
            found = train_and_keep(writer, table.x, *way)
    write_json(request.json, found)


def prepare(request: FitRequest) -> tuple[Table, ReferenceProgram]:
    """The data and the program for them, checked."""
    with rows_progress(f"Checking {request.data.name}") as progress:
        wanted = request.wanted
        table = load_matrix(
            request.data,
            progress,
            wanted.choose,
            fingerprinted=True,
            layer=wanted.layer,
            items=wanted.items,
        )
    features = table.columns if table.named else ()
    given = {} if request.loadings is None else load_generative(request.loadings, features)
    learned = tuple(name for name in LEARNABLE if name not in given)
    check_matrix(table, missing=request.missing)
    if given and len(given["loadings"]) != len(table.columns):
        raise InputError(
            f"loadings in {request.loadings} has shape {given['loadings'].shape}; expected "
            f"(D, K) with D = {len(table.columns)} rows, one for each column used of {request.data}"
        )
    constant = table.statistics.constant
    if "noise_scale" in learned and constant.any():  # whose noise would shrink to nothing
        table = without_constants(table)
        by_feature = [name for name in given if GENERATIVE[name].startswith("D")]
        given |= {name: given[name][~constant] for name in by_feature}
    config = ProgramConfig(
        table.x.shape[1],
        _num_components(request, given),
        guide=request.guide,
        covariance=request.covariance,
        rank=request.rank,
        learned=learned,
        encoder="experts" if table.statistics.missing.count else "mlp",
    )
    with rows_progress("Maximum likelihood") as progress:
        return table, make_program(
            table.x,
            config,
            _completed(table, given, learned) if given else None,
            statistics=table.statistics,
            progress=progress,
        )


def _completed(
    table: Table, given: Mapping[str, Array], learned: tuple[str, ...]
) -> LinearGaussian:
    """What is given, and intercept and noise at maximum likelihood where they are learned."""
    found = table.statistics
    first = {"intercept": found.mean, "noise_scale": found.spread}
    whole = LinearGaussian(**{**{name: first[name] for name in first if name in learned}, **given})
    return completed_start(table.x, whole, learned, found) if learned else whole


def _num_components(request: FitRequest, given: Mapping[str, Array]) -> int:
    if not given:
        if request.components is None:
            raise InputError(
                "--components is missing; give the number of components K, or --loadings"
            )
        return request.components
    found = int(given["loadings"].shape[1])
    if request.components not in (None, found):
        raise InputError(
            f"--components is {request.components} but the loadings in {request.loadings} have "
            f"{counted(found, 'column')}; expected the same number, or leave --components out"
        )
    return found


def _start(
    request: FitRequest, training: TrainingConfig, table: Table, program: ReferenceProgram
) -> SavedRun:
    """The run before its first step."""
    config = {
        "backend": request.backend,
        "program": program.config.as_dict(),
        "training": training.as_dict(),
    }
    data = {
        "fingerprint": table.fingerprint,
        "num_items": table.x.shape[0],
        "num_features": table.x.shape[1],
        "columns": list(table.columns),
        "named": table.named,
        "id_columns": list(table.id_columns),
        "left_out": list(table.left_out),
    }
    if request.wanted.layer:
        data["layer"] = request.wanted.layer
    if request.wanted.items:
        data["selected"] = list(request.wanted.items)
    state = TrainingState.start(initial_params(program, training.seed))
    return SavedRun(
        config=config,
        data=data,
        versions=versions(),
        params=state.average,
        last=state.params,
        mean=state.mean,
        variance=state.variance,
        fixed=program.fixed,
        losses=np.zeros(0),
        step=0,
    )
