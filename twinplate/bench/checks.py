"""Whether ways to train do the same work, as `twinplate bench` asks before it times them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from twinplate.bench.backend import Route, TakeSteps, Tell
from twinplate.bench.workload import SEED, Workload, reference_loss
from twinplate.errors import InputError
from twinplate.seeds import base_noise
from twinplate.training.plan import Chunk
from twinplate.training.state import Array

CHECKED_STEPS, CHECKED_RATE = 3, 1e-3
LOSSES_AGREE = (
    1e-4  # relative difference of losses in single precision, after CHECKED_STEPS of Adam
)
CHECKED_DRAWS, DEVIATIONS = (
    16,
    6,
)  # for routes that draw their own noise: within 6 standard deviations


@contextmanager
def kept_apart(name: str, failed: dict[str, str]) -> Iterator[None]:
    """What the way of that name raises (no compiler, no more memory) goes to `failed`: the others go on.

    Bad input is everybody's, and is raised.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError):
            raise
        text = str(error).strip()
        failed[name] = ": ".join([type(error).__name__, *text.splitlines()[:1]])


def checked_chunk(work: Workload) -> Chunk:
    """A few steps with given noise, at a rate at which they make a difference."""
    return replace(work, rate=CHECKED_RATE).chunk(CHECKED_STEPS, matched=True)


def take_checked(
    work: Workload, routes: Mapping[str, Route], tell: Tell
) -> tuple[dict[str, Array], dict[str, str]]:
    """Losses of the steps of `checked_chunk`, by name; and what failed."""
    losses: dict[str, Array] = {}
    failed: dict[str, str] = {}
    for name, route in routes.items():
        tell(f"checking {name}")
        with kept_apart(name, failed):
            losses[name] = route.start()(checked_chunk(work))
    return losses, failed


def checked_first(work: Workload, route: Route) -> Route:
    """`route`, whose first call takes the steps of `checked_chunk` too and returns their losses.

    For one that takes a minute to compile: it is checked and timed as it was compiled once.
    """

    def start() -> TakeSteps:
        run, due = route.start(), [checked_chunk(work)]

        def checked(chunk: Chunk) -> Array:
            if not due:
                return run(chunk)
            losses = run(due.pop())
            run(chunk)
            return losses

        return checked

    return replace(route, start=start)


def check_exact(work: Workload, losses: Mapping[str, Array]) -> dict[str, str]:
    """Hold losses of the steps of `checked_chunk` against each other; what is wrong, by name.

    The first loss is known (`reference_loss`); those after it depend on gradients and on Adam, and
    must be those of the median route.
    """
    chunk = checked_chunk(work)
    expected = np.nanmedian(list(losses.values()), axis=0) if losses else np.zeros(CHECKED_STEPS)
    expected[0] = reference_loss(work, work.x[chunk.indices[0]], chunk.noise["a_aux"][0, 0])
    wrong = {}
    for name, found in losses.items():
        error = np.max(np.abs(found / expected - 1))
        if not error <= LOSSES_AGREE:
            wrong[name] = (
                f"its losses with given noise differ from the others' by {error:.1e} (relative): "
                "it does other work and was not timed"
            )
    return wrong


def check_expected(work: Workload, losses: Mapping[str, Array]) -> dict[str, str]:
    """Hold the mean of first losses, with noise of its own, against `reference_loss`; what is wrong, by name.

    losses: of the first steps, (steps,), at a rate so low that their parameters are those of `work`.
    """
    b, k = work.size.batch_size, work.size.num_components
    shapes: dict[str, tuple[int, ...]] = {"check": (b, k)}
    wrong: dict[str, str] = {}
    for steps in {len(found) for found in losses.values()}:
        batches = work.chunk(steps).indices
        draws = [
            reference_loss(
                work, work.x[batches[i % steps]], base_noise(SEED, i, shapes)["check"][0]
            )
            for i in range(steps * -(-CHECKED_DRAWS // steps))
        ]
        mean = np.mean(draws)
        deviation = np.std(draws, ddof=1) * np.sqrt(1 / steps + 1 / len(draws))
        wrong |= {
            name: f"the mean of its first {steps} losses is {np.mean(found):.6g}; expected {mean:.6g} "
            f"± {deviation:.2g}: not timed"
            for name, found in losses.items()
            if len(found) == steps and not abs(np.mean(found) - mean) <= DEVIATIONS * deviation
        }
    return wrong
