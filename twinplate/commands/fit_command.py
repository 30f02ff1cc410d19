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
from twinplate.commands.count_checks import check_entries, check_totals, told_of_large
from twinplate.commands.devices import check_count, chosen_devices
from twinplate.commands.offset_column import Offsets, told_of_counts
from twinplate.commands.stopping import Stop
from twinplate.commands.told import tell, tell_data
from twinplate.commands.training_run import follow, train_and_keep, until_stopped
from twinplate.commands.workers import followed, launched
from twinplate.data.columns import ALL, Wanted, listed
from twinplate.data.readers import GENERATIVE, load_generative, load_matrix, without_constants
from twinplate.data.table import Missing, Table, check_matrix, fingerprint
from twinplate.errors import InputError
from twinplate.files import require_new
from twinplate.programs.config import ProgramConfig, TrainingConfig, learnable
from twinplate.programs.count_start import completed_counts
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.likelihood import COUNTS
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.parameters import initial_params
from twinplate.programs.program import ReferenceProgram, make_program
from twinplate.programs.start import completed_start
from twinplate.progress import rows_progress
from twinplate.training.checks import check_objective
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
    likelihood: str = "normal"
    offset: str = ""  # the column of the items' offsets
    no_offset: bool = False


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
        table, program, offsets = prepare(request)
        check_objective(program.config, training)
        training = training.for_items(len(table.x))
        by_place = f"{request.data.name} names no columns, so they go by their place"
        names = listed(table.columns) if table.named else by_place
        tell_data(console, table, names, request.offset)
        large = told_of_large(request.data, table, request.likelihood, training.precision)
        if large:
            tell(console, f"Note: {large}")
        with begun(request.out, _start(request, training, table, program, offsets)) as writer:
            hand(writer.run)
            found = train_and_keep(writer, table.x, *way, offsets)
    write_json(request.json, found)


def prepare(request: FitRequest) -> tuple[Table, ReferenceProgram, Array | None]:
    """The data, the program for them, and the offsets that stand in a column, checked."""
    asked = Offsets(request.likelihood, request.offset, request.no_offset)
    asked.check()
    wanted = asked.beside(request.data, request.wanted)
    with rows_progress(f"Checking {request.data.name}") as progress:
        table = load_matrix(
            request.data,
            progress,
            wanted.choose,
            fingerprinted=True,
            layer=wanted.layer,
            items=wanted.items,
        )
    offsets = asked.read(request.data, table, wanted)
    features = table.columns if table.named else ()
    given = {} if request.loadings is None else load_generative(request.loadings, features)
    learned = tuple(name for name in learnable(request.likelihood) if name not in given)
    check_matrix(table, missing=request.missing)
    if given and len(given["loadings"]) != len(table.columns):
        raise InputError(
            f"loadings in {request.loadings} has shape {given['loadings'].shape}; expected "
            f"(D, K) with D = {len(table.columns)} rows, one for each column used of {request.data}"
        )
    constant = table.statistics.constant
    # of which the noise would shrink to nothing, or the intercept of zeros alone or ones alone run away
    gone = request.likelihood not in COUNTS and {"noise_scale", "intercept"} & {*learned}
    if gone and constant.any():
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
        likelihood=request.likelihood,
        offset=asked.program_offset,
    )
    check_entries(request.data, table, request.likelihood, ", or --likelihood normal")
    check_totals(request.data, table, config, fitting=True)
    generative: LinearGaussian | GeneralisedLinear | None = None
    if given and config.likelihood == "normal":
        generative = _completed(table, given, learned)
    elif given:
        generative = completed_counts(table.x, config, given, offsets)
    with rows_progress("Maximum likelihood") as progress:
        program = make_program(
            table.x,
            config,
            generative,
            offsets=offsets,
            statistics=table.statistics,
            progress=progress,
        )
    return table, program, offsets


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
    request: FitRequest,
    training: TrainingConfig,
    table: Table,
    program: ReferenceProgram,
    offsets: Array | None,
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
    if offsets is not None:
        data["offset"] = request.offset
        data["offset_fingerprint"] = fingerprint(offsets[:, None])
    told = "" if request.likelihood != "normal" else told_of_counts(table.x, table.statistics)
    state = TrainingState.start(initial_params(program, training.seed))
    notes = (told,) if told else ()
    return SavedRun.of_state(state, config, data, versions(), program, np.zeros(0), notes)
