"""What the command `fit` does, apart from reading the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from twinplate.backends import load_backend
from twinplate.commands.stopping import Stop, stoppable
from twinplate.commands.told import tell, tell_data
from twinplate.data.blocks import release
from twinplate.data.columns import ALL, Wanted, listed
from twinplate.data.readers import GENERATIVE, load_generative, load_matrix, without_constants
from twinplate.data.table import Missing, Table, check_matrix
from twinplate.errors import InputError
from twinplate.files import require_new
from twinplate.programs.config import LEARNABLE, ProgramConfig, TrainingConfig
from twinplate.programs.linear_gaussian import Array, Gaussian, LinearGaussian
from twinplate.programs.parameters import generative_of
from twinplate.programs.program import ReferenceProgram, make_program
from twinplate.programs.start import completed_start
from twinplate.progress import rows_progress, training_progress
from twinplate.training.errors import TrainingError, TrainingInterrupted
from twinplate.training.run_directory import SavedRun, save_run, versions
from twinplate.training.state import Fit
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


def run_fit(request: FitRequest, training: TrainingConfig, console: Console) -> int:
    """Load, check, train, save the run directory and print what came out; the exit code.

    Everything is checked before training starts. Where training stops early, what it had reached is
    saved all the same, and the error says so; so where Ctrl-C or SIGTERM stops it, for which the exit code is
    130 or 143. Raises InputError for whatever cannot be used.
    """
    require_new(request.out)
    with stoppable() as stop:
        try:
            _fit_and_save(request, training, console, stop)
        except KeyboardInterrupt as interrupt:
            saved = f"what was reached is saved in {request.out}"
            what = saved if request.out.exists() else "nothing was reached that could be saved"
            happened = str(interrupt) or "interrupted"
            tell(Console(stderr=True), f"twinplate: {happened}, by {stop.name}; {what}")
            return stop.exit_code
    return 0


def _fit_and_save(
    request: FitRequest, training: TrainingConfig, console: Console, stop: Stop
) -> None:
    implementation = load_backend(request.backend)
    table, program = prepare(request)
    training = training.for_items(len(table.x))
    by_place = f"{request.data.name} names no columns, so they go by their place"
    tell_data(console, table, listed(table.columns) if table.named else by_place)

    def save(fit: Fit) -> None:
        with stop.held_off():
            save_run(request.out, _run(request, training, table, program, fit))

    title = f"{program.config.guide} guide, {request.backend}"
    try:
        with training_progress(title, training.steps, training.batch_size) as report:
            progress = stop.checked_after(report)
            fit: Fit = implementation.fit(table.x, program, training, progress=progress)
    except TrainingInterrupted as interrupt:
        if interrupt.fit.state.step:
            save(interrupt.fit)
        raise
    except TrainingError as error:
        save(error.fit)
        raise InputError(f"{error}. What was reached is saved in {request.out}") from error
    save(fit)
    stop.check()
    guide = implementation.posterior_blocks(table.x, program, fit.params)
    print_summary(console, table.x, program, fit, guide, training.objective)
    for note in fit.notes:
        tell(console, f"Note: {note}")
    if fit.compile_seconds:
        console.print(f"Compiling took {fit.compile_seconds:.1f} s")
    tell(console, f"Saved the run in {request.out}")


def prepare(request: FitRequest) -> tuple[Table, ReferenceProgram]:
    """The data and the program for them, checked."""
    with rows_progress(f"Checking {request.data.name}") as progress:
        table = load_matrix(request.data, progress, request.wanted.choose, fingerprinted=True)
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


def _run(
    request: FitRequest, training: TrainingConfig, table: Table, program: ReferenceProgram, fit: Fit
) -> SavedRun:
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
    state = fit.state
    return SavedRun(
        config=config,
        data=data,
        versions=versions(),
        params=fit.params,
        last=state.params,
        mean=state.mean,
        variance=state.variance,
        fixed=program.fixed,
        losses=fit.losses,
        step=state.step,
        limits=state.limits.as_dict(),
    )


def print_summary(
    console: Console,
    x: np.ndarray,
    program: ReferenceProgram,
    fit: Fit,
    guide: Iterator[Gaussian],
    objective: str,
) -> None:
    """Print the fit beside the exact answer, in nats per item; `guide` holds consecutive items."""
    evidence, missed, family = _exact(x, generative_of(program, fit.params), guide, program)
    table = RichTable(title=f"{counted(len(x), 'item')}, nats per item", title_justify="left")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    if objective == "simulated":
        table.add_row("loss, mean of the last steps", f"{fit.losses[-100:].mean():.4f}")
        if program.learned:
            names = ", ".join(program.learned)
            console.print(
                f"The objective 'simulated' trains the guide alone: {names} keep their start."
            )
    table.add_row("exact log evidence of the fitted model", f"{evidence:.4f}")
    table.add_row("expected ELBO of the guide, exact", f"{evidence - missed:.4f}")
    if program.config.covariance == "low-rank":
        table.add_row("gap, family and amortisation", f"{missed:.4f}")
    else:
        table.add_row(f"family gap of covariance {program.config.covariance!r}", f"{family:.4f}")
        table.add_row("amortisation gap", f"{missed - family:.4f}")
    console.print(table)


def _exact(
    x: np.ndarray, generative: LinearGaussian, guide: Iterator[Gaussian], program: ReferenceProgram
) -> Array:
    """Log evidence, what the guide misses, and the family gap (0 for a low rank): means, in nats."""
    sums, done, covariance = np.zeros(3), 0, program.config.covariance
    with rows_progress("Exact answer") as progress:
        for part in guide:
            items = np.array(x[done : done + len(part.loc)], dtype=np.float64)
            release(x)
            sums[0] += generative.log_evidence(items).sum()
            sums[1] += generative.kl_to_posterior(items, part).sum()
            if covariance != "low-rank":
                sums[2] += generative.family_gap(items, covariance).sum()
            done += len(items)
            progress(done, len(x))
    return sums / len(x)
