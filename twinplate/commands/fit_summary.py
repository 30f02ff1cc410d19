"""What `twinplate fit` prints of a fit: its losses beside the exact answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from twinplate.commands.told import tell
from twinplate.data.blocks import Walk, gather
from twinplate.data.stored import Matrix
from twinplate.programs.importance import DRAWS, bounded_places, evidence_name, few_draws
from twinplate.programs.linear_gaussian import Array, Gaussian, LinearGaussian
from twinplate.programs.parameters import linear_gaussian_of
from twinplate.programs.program import ReferenceProgram
from twinplate.progress import rows_progress
from twinplate.training.state import LAST, Fit
from twinplate.words import counted


def print_summary(
    console: Console,
    x: Matrix,
    program: ReferenceProgram,
    fit: Fit,
    guide: Iterator[Gaussian],
    objective: str,
    offsets: Array | None = None,
) -> dict[str, float]:
    """Print the fit beside the exact answer, in nats per item, and give it back, for JSON.

    Of counts the answer is a bound, on some of the items, with its error.

    guide: of consecutive items.  offsets: (N,), those of `x`.
    """
    if program.config.likelihood != "normal":
        return _print_bound(console, x, fit, offsets)
    evidence, missed, family = _exact(x, linear_gaussian_of(program, fit.params), guide, program)
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
    found = {"log_evidence": float(evidence), "elbo": float(evidence - missed)}
    if program.config.covariance == "low-rank":
        table.add_row("gap, family and amortisation", f"{missed:.4f}")
    else:
        found |= {"family_gap": float(family), "amortisation_gap": float(missed - family)}
        table.add_row(f"family gap of covariance {program.config.covariance!r}", f"{family:.4f}")
        table.add_row("amortisation gap", f"{missed - family:.4f}")
    console.print(table)
    return found


def _print_bound(console: Console, x: Matrix, fit: Fit, offsets: Array | None) -> dict[str, float]:
    """What there is of a likelihood without closed forms: the last losses, and a bound on the evidence."""
    some = bounded_places(len(x))
    items = gather(x, some)
    of = None if offsets is None else offsets[some]
    bound = fit.evidence_bound(items, offsets=of)
    title = f"{counted(len(x), 'item')}, nats per item"
    table = RichTable(title=title, title_justify="left")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_row("ELBO, mean of the last steps", f"{-fit.losses[-LAST:].mean():.4f}")
    which = "" if len(some) == len(x) else f", {counted(len(some), 'item')}"
    value = f"{bound.mean:.4f} ± {bound.mean_error:.4f}"
    assert fit.program is not None
    named = evidence_name(fit.program.config.offset)
    table.add_row(f"{named}, importance-weighted bound{which}", value)
    fewest = f"{bound.effective_draws.min():.0f} of {DRAWS}"
    table.add_row("effective draws, of the item with the fewest", fewest)
    console.print(table)
    if few := few_draws(bound.effective_draws, some):
        tell(console, few)
    return bound.as_dict()


def _exact(
    x: Matrix, generative: LinearGaussian, guide: Iterator[Gaussian], program: ReferenceProgram
) -> Array:
    """Log evidence, what the guide misses, and the family gap (0 for a low rank): means, in nats."""
    sums, done, covariance = np.zeros(3), 0, program.config.covariance
    walk = Walk(x)
    with rows_progress("Exact answer") as progress:
        for part in guide:
            items = walk.next(len(part.loc))
            sums[0] += generative.log_evidence(items).sum()
            sums[1] += generative.kl_to_posterior(items, part).sum()
            if covariance != "low-rank":
                sums[2] += generative.family_gap(items, covariance).sum()
            done += len(items)
            progress(done, len(x))
    return sums / len(x)
