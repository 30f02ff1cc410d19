"""Comparison of numbers: values, log densities, losses and gradients, by the rule of `rounding`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from twinplate.records.record import PERTURBED, Array, Record, Run, Site
from twinplate.verification.comparison.correspondence import moved, reducers
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.places import Say, of_array, of_densities, of_particles
from twinplate.verification.comparison.rounding import Judgement, judge
from twinplate.verification.comparison.scales import compare_scales

NEGLIGIBLE = 2.0**-50  # of a log density: a few roundings of the density itself

Pick = Callable[[Run], Array | None]
Judged = tuple[Judgement, Array, Array]  # a judgement, and both programs' double precision
WHICH = ("first", "second")


@dataclass(frozen=True)
class DrawPair:
    """Both programs' runs of one draw."""

    first: Record
    second: Record
    draw: str

    def run(self, which: str, precision: str = "float64") -> Run:
        """The run of the "first" or "second" program, empty where it had stopped before."""
        record: Record = getattr(self, which)
        return record.runs.get((self.draw, precision), Run())

    @property
    def is_complete(self) -> bool:
        """Whether neither program stopped in double precision."""
        return all(self.run(which).failure is None for which in WHICH)

    def judged(self, pick: Pick, pick_second: Pick | None = None) -> Judged:
        """Judgement of the array that `pick` finds in a run, and both programs' double precision."""
        picks = {"first": pick, "second": pick_second or pick}
        exact = [_numbers(picks[w](self.run(w))) for w in picks]
        single = [
            _like(_picked(picks[w], self.run(w, "float32")), numbers)
            for w, numbers in zip(picks, exact, strict=True)
        ]
        # A change of the inputs may leave a support; the other changes still tell. Where all of them
        # do, single precision alone tells.
        ran = [
            name
            for name in PERTURBED
            if all(self.run(w, name).failure is None for w in ("first", "second"))
        ]
        moved_inputs = [
            [_like(_picked(picks[w], self.run(w, name)), numbers) for name in ran] or [numbers]
            for w, numbers in zip(picks, exact, strict=True)
        ]
        judgement = judge(
            exact[0], exact[1], single[0], single[1], moved_inputs[0], moved_inputs[1]
        )
        return judgement, exact[0], exact[1]


def _picked(pick: Pick, run: Run) -> Array | None:
    """What `pick` finds, None in a run that stopped before it."""
    try:
        return pick(run)
    except (KeyError, AttributeError, TypeError, ValueError):
        return None


def _numbers(values: Array | None) -> npt.NDArray[np.float64]:
    if values is None:
        raise ValueError("nothing was recorded here")
    return np.asarray(values, dtype=np.float64)


def _like(values: Array | None, shape_of: Array) -> npt.NDArray[np.float64]:
    """Numbers, or NaN (which says nothing) where a run has none of that shape."""
    if values is None or np.shape(values) != shape_of.shape:
        return np.full(shape_of.shape, np.nan)
    return np.asarray(values, dtype=np.float64)


def _finding(
    judgement: Judgement,
    first: Array,
    second: Array,
    stage: str,
    program: str,
    site: str,
    say: Say,
) -> Iterator[Finding]:
    """What a judgement says: one finding, and none where all numbers are the same."""
    if judgement.verdict == "same":
        return
    worst_code = judgement.codes.max()
    candidates = np.where(judgement.codes == worst_code, judgement.ratio, -1.0)
    candidates = np.where(np.isnan(candidates), np.inf, candidates)
    place = np.unravel_index(int(np.argmax(candidates)), candidates.shape)
    where = f" at {said}" if (said := say(tuple(map(int, place)))) else ""
    count = int((judgement.codes == worst_code).sum())
    share = f"{count} of {judgement.codes.size} numbers"
    level = "difference" if worst_code == 2 else "undecided"
    if judgement.cast[place]:
        message = f"cannot be raised to double precision in either program ({share}{where})"
    elif level == "undecided":
        message = f"is too ill-conditioned to judge ({share}{where})"
    else:
        message = f"differs ({share}{where})"
    a, b = f"{first[place]:.17g}", f"{second[place]:.17g}"
    yield Finding(level, stage, program, site, message, a, b)


def compare_values(pair: DrawPair, program: str, name: str) -> Iterator[Finding]:
    """Values that the programs computed themselves: observed and deterministic ones, and Deltas."""
    site = getattr(pair.run("first"), program)[name]
    other = getattr(pair.run("second"), program)[name]
    if site.value is None or other.value is None or site.value.shape != other.value.shape:
        return
    judgement, a, b = pair.judged(lambda run: getattr(run, program)[name].value)
    out = _left_out(site) & _left_out(other)
    if site.kind == other.kind == "observed" and (judgement.codes[out] != 0).any():
        message = "differs where both programs' masks leave it out"
        yield Finding("note", "value", program, name, message)
        judgement = replace(judgement, codes=np.where(out, 0, judgement.codes))
    yield from _finding(judgement, a, b, "value", program, name, of_particles(len(a)))


def _left_out(site: Site) -> npt.NDArray[np.bool_]:
    """Which numbers of a site's value its mask leaves out."""
    assert site.value is not None
    if site.mask is None or site.log_prob is None:
        return np.zeros(site.value.shape, dtype=bool)
    out = ~np.broadcast_to(site.mask, site.log_prob.shape)
    dims = site.value.ndim - out.ndim
    return np.broadcast_to(out.reshape(*out.shape, *(1,) * dims), site.value.shape)


def densities(pair: DrawPair, program: str, name: str) -> Judged | None:
    """The judgement of a site's log densities and both programs' numbers, None without a correspondence.

    The numbers are summed over the dims that only one program has as batch dims.
    """
    sites = [getattr(pair.run(w), program)[name] for w in WHICH]
    if any(site.log_prob is None for site in sites):
        return None
    correspondence = moved(*sites)
    if correspondence is None:
        return None

    def pick(reduce: Callable[[Array], Array]) -> Pick:
        def reduced(run: Run) -> Array | None:  # None where single precision stopped before it
            site = getattr(run, program)[name]
            return None if site.log_prob is None else reduce(site.scaled)

        return reduced

    first, second = reducers(correspondence)
    judgement, a, b = pair.judged(pick(first), pick(second))
    scale = max(float(np.abs(site.scale).max(initial=0.0)) for site in sites)
    with np.errstate(invalid="ignore"):
        negligible = np.abs(a - b) <= NEGLIGIBLE * scale
    return replace(judgement, codes=np.where(negligible, 0, judgement.codes)), a, b


def compare_densities(pair: DrawPair, program: str, name: str) -> Iterator[Finding]:
    """Scale and log densities of a site that both programs have."""
    sites = [getattr(pair.run(w), program)[name] for w in WHICH]
    scaled = compare_scales(program, name, *sites)
    if scaled is not None:
        yield scaled
        return
    judged = densities(pair, program, name)
    if judged is None:
        return
    yield from _not_numbers(*judged[1:], program, name, pair.draw)
    judged, notes = _without_overflow(judged, "density", program, name, pair.draw)
    yield from notes
    say = of_densities(len(judged[1]), *sites)
    yield from _finding(*judged, "density", program, name, say)


def _not_numbers(
    first: Array, second: Array, program: str, name: str, draw: str
) -> Iterator[Finding]:
    """Where both programs agree on NaN there is nothing to compare; a note for the stress draw."""
    both = np.isnan(first) & np.isnan(second)
    if both.any():
        share = f"{int(both.sum())} of {both.size} numbers"
        message = f"is not a number (NaN) in both programs ({share}), so it cannot be compared"
        level = "note" if draw == "stress" else "difference"
        yield Finding(level, "execution", program, name, message, "nan", "nan")


def _without_overflow(
    judged: Judged, stage: str, program: str, name: str, draw: str
) -> tuple[Judged, list[Finding]]:
    """What is left to judge, and a note on what the stress draw makes NaN in one program, infinite in one.

    Beyond double precision it depends on the order of the operations which of the two a number becomes.
    In other draws, and where one program has a number, it is a difference.
    """
    judgement, first, second = judged
    out = (np.isnan(first) & np.isinf(second)) | (np.isinf(first) & np.isnan(second))
    if draw != "stress" or not out.any():
        return judged, []
    share = f"{int(out.sum())} of {out.size} numbers"
    message = f"is beyond double precision in both programs ({share}), so it cannot be compared"
    a, b = (f"{values[out][0]:.17g}" for values in (first, second))
    left = replace(judgement, codes=np.where(out, 0, judgement.codes))
    return (left, first, second), [Finding("note", stage, program, name, message, a, b)]


def _gradient(name: str) -> Pick:
    return lambda run: run.parameters[name].gradient


def compare_losses(pair: DrawPair) -> Iterator[Finding]:
    """Loss of every particle, and the gradient in every parameter."""
    runs = [pair.run(w) for w in WHICH]
    if runs[0].loss is not None and runs[1].loss is not None:
        judged = pair.judged(lambda run: run.loss)
        yield from _not_numbers(*judged[1:], "loss", "", pair.draw)
        judged, notes = _without_overflow(judged, "loss", "loss", "", pair.draw)
        yield from notes
        yield from _finding(*judged, "loss", "loss", "", of_particles(len(judged[1])))
    for name, p in runs[0].parameters.items():
        other = runs[1].parameters.get(name)
        if other is None or p.gradient is None or other.gradient is None:
            continue
        if p.gradient.shape != other.gradient.shape:
            continue
        judged = pair.judged(_gradient(name))
        yield from _not_numbers(*judged[1:], "loss", name, pair.draw)
        judged, notes = _without_overflow(judged, "gradient", "loss", name, pair.draw)
        yield from notes
        is_image = p.constraint == "unconstrained"  # of every particle
        say = of_particles(len(judged[1])) if is_image else of_array
        yield from _finding(*judged, "gradient", "loss", name, say)
