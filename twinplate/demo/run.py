"""The demo: three guides in two frameworks on real images, beside the exact answer.

One model with one fixed dictionary, six fits, a matched stretch that shows that the two frameworks run
the same program, and pictures. Both frameworks and the extra `all` are needed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rich.console import Console

from twinplate.backends import BACKENDS, load_backend
from twinplate.demo.digits import Digits, dictionary, load_digits
from twinplate.demo.pictures import write_pictures
from twinplate.demo.report import (
    LABELS,
    Difference,
    Fitted,
    print_introduction,
    print_outcome,
    results,
    write_results,
)
from twinplate.extras import import_extra
from twinplate.files import require_new, written_whole
from twinplate.programs.config import GUIDES, ProgramConfig, TrainingConfig
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.program import Params, ReferenceProgram, make_program
from twinplate.progress import training_progress

SEED = 0


@dataclass(frozen=True)
class Steps:
    """Steps of each of the six fits, and of each run of the matched stretch."""

    fit: int
    matched: int


FULL = Steps(fit=3000, matched=200)
QUICK = Steps(fit=500, matched=50)


def run_demo(out: Path, quick: bool) -> dict[str, Any]:
    """Fit, compare, print the tables and write pictures and numbers to the new directory `out`; the numbers.

    Everything that can be missing is looked for before training starts, and `out` is written whole
    or not at all. Raises InputError where `out` exists, or a framework or package is missing.
    """
    require_new(out)
    implementations = {name: load_backend(name) for name in BACKENDS}
    import_extra("matplotlib.figure", "matplotlib")
    threads = import_extra("threadpoolctl", "scikit-learn")
    digits = load_digits(SEED)
    generative = dictionary(digits)
    steps = QUICK if quick else FULL
    training = TrainingConfig(steps=steps.fit, seed=SEED, device="cpu")
    matched = TrainingConfig(steps=steps.matched, seed=SEED, device="cpu", precision="float64")
    console = Console()
    print_introduction(console, digits, generative, training)
    # The matrices are small: torch's second thread gains nothing, and spins while it waits.
    with threads.threadpool_limits(1):
        programs = {guide: _program(digits, generative, guide) for guide in GUIDES}
        fits = [
            fit_guide(implementations[backend], backend, program, training, digits.x)
            for program in programs.values()
            for backend in BACKENDS
        ]
        console.print(f"Matched stretch: {matched.steps} steps of every pair in float64 …")
        differences = {
            guide: matched_difference(implementations, program, matched, digits.x)
            for guide, program in programs.items()
        }
    numbers = results(digits, generative, fits, differences, training, matched)
    with written_whole(out) as directory:
        directory.mkdir()
        write_results(directory / "results.json", numbers)
        write_pictures(directory, digits, generative, fits, training)
    print_outcome(console, numbers, out)
    return numbers


def fit_guide(
    implementation: ModuleType,
    backend: str,
    program: ReferenceProgram,
    training: TrainingConfig,
    x: Array,
) -> Fitted:
    """Train one program under a progress bar, and time it: all of it, and its first chunk."""
    started = time.perf_counter()
    chunk_ends: list[float] = []
    title = f"{program.config.guide:>9} guide, {LABELS[backend]:<7}"
    with training_progress(title, training.steps, training.batch_size) as bar:

        def progress(done: int, losses: Array) -> None:
            chunk_ends.append(time.perf_counter())
            bar(done, losses)

        fit = implementation.fit(x, program, training, progress=progress)
    return Fitted(
        guide=program.config.guide,
        backend=backend,
        losses=fit.losses,
        posterior=implementation.posterior(x, program, fit.params),
        seconds=chunk_ends[-1] - started,
        first_seconds=chunk_ends[0] - started,
    )


def matched_difference(
    implementations: dict[str, ModuleType],
    program: ReferenceProgram,
    training: TrainingConfig,
    x: Array,
) -> Difference:
    """Train in both frameworks from the same numbers: first values, mini-batches and base noise."""
    one, other = (
        implementation.fit(x, program, training, matched=True)
        for implementation in implementations.values()
    )
    return Difference(
        losses=relative_difference({"losses": one.losses}, {"losses": other.losses}),
        params=relative_difference(one.params, other.params),
    )


def relative_difference(one: Params, other: Params) -> float:
    """Largest over the arrays of max |one - other| / max(1, max |one|)."""
    return max(
        float(np.max(np.abs(one[name] - other[name])) / max(1.0, np.max(np.abs(one[name]))))
        for name in one
    )


def _program(digits: Digits, generative: LinearGaussian, guide: str) -> ReferenceProgram:
    config = ProgramConfig(
        num_features=generative.num_features,
        num_components=generative.num_components,
        guide=guide,
        encoder="experts",  # every image has hidden pixels
    )
    # Guides that start near the standard normal, not at the posterior, so that one sees them learn.
    return replace(make_program(digits.x, config, generative), width=None)
