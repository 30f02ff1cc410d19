"""Comparison of what does not depend on numbers: sites, plates, supports, shapes, parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from twinplate.records.record import Parameter, Plate, Site
from twinplate.verification.comparison.correspondence import moved
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.scales import scales_agree
from twinplate.verification.matching.autoguides import JOINED
from twinplate.verification.matching.sites import AUTOGUIDE_LATENT, STEP, series
from twinplate.words import counted


def format_shapes(site: Site) -> str:
    """Batch and event shape as in Pyro's `Trace.format_shapes`: "3 5 | 2"."""
    batch, event = (" ".join(map(str, s)) for s in (site.batch_shape, site.event_shape))
    return f"{batch} | {event}".strip()


def same_ends(first: Site, second: Site) -> bool:
    """Whether values lie in one interval, whose ends the arguments of both sites tell."""
    ends = [[site.arguments.get(end) for end in ("low", "high")] for site in (first, second)]
    return all(
        a is not None and b is not None and np.allclose(a, b) for a, b in zip(*ends, strict=True)
    )


def compare_sites(
    program: str, first: Mapping[str, Site], second: Mapping[str, Site]
) -> Iterator[Finding]:
    """Sites that only one program has, and sites of different kinds."""
    lengths = _lengths(first, second)
    for name, site in {**second, **first}.items():
        if name in first and name in second:
            a, b = first[name].kind, second[name].kind
            if a != b:
                message = f"is {_a(a)} site in the first program and {_a(b)} site in the second"
                yield Finding("difference", "sites", program, name, message, a, b)
            continue
        if name in lengths:
            steps = [counted(n, "step") for n in lengths[name]]
            message = (
                f"is of a series of {steps[0]} in the first program and of {steps[1]} in the second"
            )
            yield Finding("difference", "sites", program, name, message, *steps)
            continue
        only, other = ("first", "second") if name in first else ("second", "first")
        level = "note" if site.kind == "deterministic" else "difference"
        message = f"{_a(site.kind)} site of the {only} program that the {other} does not have"
        shown = f"{site.kind} {format_shapes(site)}"
        pair = (shown, "absent") if name in first else ("absent", shown)
        yield Finding(level, "sites", program, name, message, *pair)


def _lengths(first: Mapping[str, Site], second: Mapping[str, Site]) -> dict[str, tuple[int, int]]:
    """Steps in each program, for sites of one program that belong to a series of another length.

    A series is a loop's `z_0 … z_T`, or the stacked `z` of a scan.
    """
    alone = [name for name in {**first, **second} if (name in first) != (name in second)]
    bases = {step["base"] if (step := STEP.match(name)) else name for name in alone}
    found: dict[str, tuple[int, int]] = {}
    for base in bases:
        loops = [series(sites, base) for sites in (first, second)]
        counts = [
            _steps(base, sites, loop) for sites, loop in zip((first, second), loops, strict=True)
        ]
        if max(map(len, loops)) > 1 and 0 not in counts and counts[0] != counts[1]:
            members = {base, *loops[0], *loops[1]}
            found |= dict.fromkeys(members.intersection(alone), (counts[0], counts[1]))
    return found


def _steps(base: str, sites: Mapping[str, Site], loop: list[str]) -> int:
    """The steps of a loop, or of a scan's stack; 0 without either."""
    stack = sites[base].batch_shape if base in sites else ()
    return len(loop) or (stack[0] if stack else 0)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def compare_site(program: str, name: str, first: Site, second: Site) -> Iterator[Finding]:
    """Plates, support and shape of a site that both programs have."""
    correspondence = moved(first, second)
    restructured = correspondence.restructured if correspondence else []
    # A Delta has no plates of its own to declare, and no support but its point.
    delta = any(
        site.family == "Delta" or site.family.startswith(JOINED) for site in (first, second)
    )
    for found in _plates(program, name, first, second, restructured):
        yield replace(found, level="note") if delta and program == "guide" else found
    shown = _support(first), _support(second)
    if shown[0] != shown[1]:
        close = set(shown) == {"positive", "nonnegative"}
        innocuous = first.kind != "latent" or close or delta or same_ends(first, second)
        level = "note" if innocuous else "difference"
        yield Finding(level, "support", program, name, "has another support", *shown)
    shapes = format_shapes(first), format_shapes(second)
    if correspondence is None:
        message = "has another shape, and its dims do not correspond"
        yield Finding("difference", "shape", program, name, message, *shapes)
    elif correspondence.undeclared and program == "guide" and AUTOGUIDE_LATENT.match(name):
        message = "the libraries' autoguides declare its dim differently"
        yield Finding("note", "shape", program, name, message, *shapes)
    elif correspondence.undeclared:
        message = "has a batch dim outside every plate that is an event dim of the other program"
        yield Finding("difference", "shape", program, name, message, *shapes)
    elif restructured:
        message = f"restructured: plate {', '.join(restructured)} of one program is an event dim of the other"
        yield Finding("note", "shape", program, name, message, *shapes)
    elif _trailing(first) != _trailing(second):
        message = "has another batch shape"
        yield Finding("difference", "shape", program, name, message, *shapes)


def _support(site: Site) -> str:
    """The name of the support; of one that is given by its ends, that of the set between them."""
    low, high = (np.asarray(site.arguments.get(end, np.nan)) for end in ("low", "high"))
    if site.support == "greater_than" and (low == 0).all():
        return "positive"
    unit = site.support == "interval" and (low == 0).all() and (high == 1).all()
    return "unit_interval" if unit else site.support


def _trailing(site: Site) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Batch shape without leading ones, and event shape."""
    batch = site.batch_shape
    while batch and batch[0] == 1 and -len(batch) not in {p.dim for p in site.plates}:
        batch = batch[1:]
    return batch, site.event_shape


def _plates(
    program: str, name: str, first: Site, second: Site, restructured: list[str]
) -> Iterator[Finding]:
    mine = [p for p in first.plates if p.name not in restructured]
    theirs = [p for p in second.plates if p.name not in restructured]

    def layout(plates: list[Plate]) -> list[tuple[int, int, int]]:
        return sorted((0 if restructured else p.dim, p.size, p.subsample_size) for p in plates)

    def subsamples(plates: list[Plate]) -> list[tuple[int, int]]:
        return [(dim, size) for dim, _, size in layout(plates)]

    shown = _shown(first.plates), _shown(second.plates)
    if layout(mine) == layout(theirs):
        if {p.name for p in mine} != {p.name for p in theirs}:
            yield Finding("note", "plates", program, name, "is in plates of other names", *shown)
    elif subsamples(mine) == subsamples(theirs) and scales_agree(first, second):
        message = "is scaled by one program as a subsampled plate of the other does"
        yield Finding("note", "plates", program, name, message, *shown)
    else:
        yield Finding("difference", "plates", program, name, "is in other plates", *shown)


def _shown(plates: tuple[Plate, ...]) -> str:
    def one(p: Plate) -> str:
        subsample = f" of {p.size}" if p.size != p.subsample_size else ""
        return f"{p.name} dim={p.dim} size {p.subsample_size}{subsample}"

    return "; ".join(one(p) for p in plates) or "none"


# Constraints with one support whose maps from the real numbers differ, so that training does too.
SAME_SUPPORT = ({"positive", "softplus_positive"}, {"lower_cholesky", "softplus_lower_cholesky"})


def compare_parameters(
    first: Mapping[str, Parameter],
    second: Mapping[str, Parameter],
    across: bool,
) -> Iterator[Finding]:
    """Parameters that only one program has; constraints; shapes.

    across: whether the programs are of two frameworks.
    """
    for name in {**first, **second}:
        a, b = first.get(name), second.get(name)
        if a is None or b is None:
            only, other = ("first", "second") if b is None else ("second", "first")
            message = (
                f"is a parameter of the {only} program that matches none of the {other}; if it has "
                "another name there, say so with rename"
            )
            shapes = ["absent" if p is None else str(p.value.shape) for p in (a, b)]
            yield Finding("difference", "parameter", "loss", name, message, *shapes)
        elif a.value.shape != b.value.shape:
            shapes = [str(p.value.shape) for p in (a, b)]
            yield Finding("difference", "parameter", "loss", name, "has another shape", *shapes)
        elif a.constraint != b.constraint:
            yield _constraint(name, a.constraint, b.constraint)
        elif a.constraint == "simplex" and across:
            message = (
                "is trained in other coordinates: Pyro's simplex parameters are a softmax, NumPyro's "
                "a stick-breaking map; gradients are compared in those of the softmax"
            )
            yield Finding("note", "parameter", "loss", name, message)


def _constraint(name: str, first: str, second: str) -> Finding:
    both = " and ".join(
        f"{kind}{' (the default)' * (kind == 'real')} in the {which}"
        for which, kind in (("first program", first), ("second", second))
    )
    message = f"has another constraint: {both}"
    if {first, second} in SAME_SUPPORT:
        message = (
            f"has another map to the same support (softplus for exp), {both}: no density moves, but "
            "training does; use the same constraint in both"
        )
    return Finding("difference", "parameter", "loss", name, message, first, second)
