"""What the known inaccuracies of a site's families allow, where both programs have the same distribution.

A distribution that is made of others has their inaccuracies: a mixture those of its components and of its
choice among them, a zero-inflated one those of its base. What a part is off by weighs no more in the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from twinplate.records.record import Array, Run, Site
from twinplate.verification.comparison.inaccuracies import Inaccuracy, known
from twinplate.verification.comparison.numbers import NEGLIGIBLE, WHICH, DrawPair, densities
from twinplate.verification.comparison.validity import bounded, in_part, magnitude

COUNTS = ("GammaPoisson", "NegativeBinomial2")
NORMALISED = ("Categ", "Multinom", "OneHot")  # families whose probs sum to 1


@dataclass(frozen=True)
class SiteInaccuracy:
    """How far the site may explain what differs.

    reason: the entry that allows the density most.  loss: difference of its log densities, summed.
    gradient: how much a gradient of the loss may differ, relative to max(1, |g|), and the part of it
        that comes from beyond the ranges in which the entries' bounds hold.
    bounded: whether all of the site's densities are within these ranges.
    """

    site: str
    reason: Inaccuracy
    loss: float
    gradient: float
    beyond: float
    bounded: bool


def site_inaccuracy(pair: DrawPair, program: str, name: str) -> SiteInaccuracy | None:
    """What the site allows; None if all is accurate, its arguments differ, or its density by more."""
    sites = [getattr(pair.run(which), program).get(name) for which in WHICH]
    if any(site is None for site in sites):
        return None
    frameworks = pair.first.framework, pair.second.framework
    found = [
        (entry, role, site)
        for framework, site in zip(frameworks, sites, strict=True)
        for role, family in families_of(site).items()
        if (entry := known(framework, family)) is not None
    ]
    entries = [entry for entry, _, _ in found]
    judged = densities(pair, program, name) if entries else None
    if judged is None or not _same_distribution(pair, program, name):
        return None
    _, a, b = judged
    summed = max(1, sites[0].log_prob.size // a.size)
    scale = max(np.abs(site.scale).max() for site in sites) * summed
    largest = np.maximum(np.abs(a), np.abs(b))  # infinite where one framework has no density left
    size = np.maximum(scale, np.where(np.isfinite(largest), largest, 0.0)) + np.finfo(float).tiny
    with np.errstate(invalid="ignore"):  # both are -inf
        difference = np.where(a == b, 0.0, np.abs(a - b))
    density, gradient, beyond = np.zeros((3, *a.shape))
    for entry, role, site in found:
        holds = bounded(entry, site, a.shape, role)
        density += np.where(holds, entry.log_density, np.inf)
        outside = entry.gradient_outside * magnitude(entry, site, a.shape, role)
        gradient += np.where(holds, entry.gradient, outside)
        beyond += np.where(holds, 0.0, outside)
    if not (difference <= density * size).all():
        return None
    worst = max(entries, key=lambda entry: entry.log_density)
    loss, slope, unbounded = (
        float(values.sum()) for values in (difference, gradient * size, beyond * size)
    )
    return SiteInaccuracy(name, worst, loss, slope, unbounded, bool(np.isfinite(density).all()))


def _same_distribution(pair: DrawPair, program: str, name: str) -> bool:
    """Whether value, mask and arguments agree, and all arguments could be compared."""
    first, second = (getattr(pair.run(which), program)[name] for which in WHICH)
    mine, theirs = arguments_of(first), arguments_of(second)
    if not mine or mine.keys() != theirs.keys() or not _same_mask(first, second):
        return False
    try:
        shapes = {n: np.broadcast_shapes(mine[n].shape, theirs[n].shape) for n in mine}
        return all(_agrees(pair, program, name, *argument) for argument in shapes.items())
    except ValueError:
        return False


def _agrees(pair: DrawPair, program: str, name: str, argument: str, shape: tuple[int, ...]) -> bool:
    """Whether an argument is the same; of a probability, a rounding of 1 is none of its own."""
    judgement, a, b = pair.judged(_argument(program, name, argument, shape))
    with np.errstate(invalid="ignore"):
        rounded = (np.abs(a - b) <= NEGLIGIBLE) & argument.endswith("probs")
    return bool((rounded | (judgement.codes == 0)).all())


def _argument(
    program: str, name: str, argument: str, shape: tuple[int, ...]
) -> Callable[[Run], Array]:
    return lambda run: np.broadcast_to(arguments_of(getattr(run, program)[name])[argument], shape)


def _same_mask(first: Site, second: Site) -> bool:
    masks = [np.ravel(True if site.mask is None else site.mask) for site in (first, second)]
    return masks[0].size == masks[1].size and bool((masks[0] == masks[1]).all())


def arguments_of(site: Site) -> dict[str, Array]:
    """The site's value and its distribution's arguments, logits as probs, those of parts by their roles.

    A negative binomial by its mean, or as a gamma-Poisson, has those of one by probs.
    """
    families = families_of(site)
    found: dict[str, dict[str, Array]] = {role: {} for role in families}
    for name, values in site.arguments.items():
        role, _, argument = name.rpartition(" ")
        found[role][argument] = values
    named = {
        in_part(role, argument): values
        for role, given in found.items()
        for argument, values in _as_probs(given, families[role])
    }
    return named if site.value is None else named | {"value": site.value}


def families_of(site: Site) -> dict[str, str]:
    """The site's own family by the role "", and those of its parts by theirs."""
    return {"": site.family, **site.parts}


def _as_probs(given: dict[str, Array], family: str) -> Iterator[tuple[str, Array]]:
    found = {**given}
    if "concentration" in found and {"mean", "rate"} & found.keys() and family in COUNTS:
        total = found.pop("concentration")
        rate = found.pop("rate") if "rate" in found else total / found.pop("mean")
        found |= {"total_count": total, "probs": 1 / (1 + rate)}
    if "logits" in found and "probs" not in found:
        logits = found.pop("logits")
        found["probs"] = (
            scipy.special.softmax(logits, axis=-1)
            if family.startswith(NORMALISED)
            else scipy.special.expit(logits)
        )
    if "gate_logits" in found and "gate" not in found:
        found["gate"] = scipy.special.expit(found.pop("gate_logits"))
    yield from found.items()
