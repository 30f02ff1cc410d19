"""Known mistakes at single sites: arguments of distributions, scales, masks, plates, event dims."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import scipy

from twinplate.records.record import Array, Site
from twinplate.verification.comparison.context import Context, alike
from twinplate.verification.comparison.counterparts import same_family
from twinplate.verification.comparison.site_inaccuracy import (
    NORMALISED,
    arguments_of,
    families_of,
)
from twinplate.verification.comparison.validity import in_part
from twinplate.verification.matching.autoguides import JOINED

# Of supports that an entry under a mask may lie outside of; derivatives at the edge are spoilt too
EDGES = {
    "positive": (0.0, np.inf),
    "nonnegative": (0.0, np.inf),
    "unit_interval": (0.0, 1.0),
    "nonnegative_integer": (-1.0, np.inf),
    "boolean": (-1.0, 2.0),
}

# Arguments that say the same, each in its own way
KINDRED = (("probs", "logits"), ("scale_tril", "covariance_matrix", "precision_matrix"))

# -- arguments of a distribution ----------------------------------------------------------------------


def reparametrised(context: Context) -> str | None:
    """A scale, variance, precision or rate is given where another of them is expected."""
    if context.finding.stage != "density":
        return None
    for name, a, b in context.differing():
        texts = {
            "scale": [
                (a**2, "The second program's scale is the first's square: a variance is given where "
                 "a standard deviation is expected; take its square root"),
                (np.sqrt(a), "The second program's scale is the first's square root: the first gives a "
                 "variance where a standard deviation is expected"),
                (1 / a, "The second program's scale is the first's reciprocal: a precision or rate is "
                 "given for a scale; take 1 / it"),
                (a**-2.0, "The second program's scale is the first's to the power -2: a precision is "
                 "given for a standard deviation; take 1 / sqrt of it"),
                (a**-0.5, "The second program's scale is the first's to the power -1/2: the first gives a "
                 "precision where a standard deviation is expected"),
            ],
            "rate": [
                (1 / a, "The second program's rate is the first's reciprocal: a scale is given for a "
                 "rate; take 1 / it"),
            ],
        }  # fmt: skip
        for expected, text in texts.get(name, []):
            if alike(expected, b):
                return text
    return None


def swapped(context: Context) -> str | None:
    """Two arguments of the distribution are exchanged."""
    differing = context.differing() if context.finding.stage == "density" else []
    for i, (name, a, b) in enumerate(differing):
        for other, c, d in differing[i + 1 :]:
            if alike(a, d) and alike(b, c):
                return f"{name} and {other} are swapped"
    return None


def swapped_mean(context: Context) -> str | None:
    """The mean of a negative binomial and its concentration are exchanged, however they are given."""
    if context.first is None or context.second is None or context.finding.stage != "density":
        return None
    a, b = (_means(site) for site in (context.first, context.second))
    for role in a.keys() & b.keys():
        mean, total, other_mean, other_total = _together(*a[role], *b[role])
        exchanged = alike(mean, other_total) and alike(total, other_mean)
        if exchanged and not alike(mean, total):
            return "The mean and the concentration of a negative binomial are swapped"
    return None


def _means(site: Site) -> dict[str, tuple[Array, Array]]:
    """Mean and concentration (total count) of the negative binomials of a site, by role."""
    given = arguments_of(site)
    found = {}
    for role, family in families_of(site).items():
        total, probs = (given.get(in_part(role, name)) for name in ("total_count", "probs"))
        if total is not None and probs is not None and same_family(family, "NegativeBinomial"):
            found[role] = (total * probs / (1 - probs), total)
    return found


def _together(*arrays: Array) -> tuple[Array, ...]:
    """Arrays in their common shape, as they are where they have none."""
    try:
        return tuple(np.broadcast_arrays(*arrays))
    except ValueError:
        return arrays


def complement(context: Context) -> str | None:
    """A probability is given where that of the opposite is expected."""
    if context.first is None or context.second is None or context.finding.stage != "density":
        return None
    a, b = map(arguments_of, (context.first, context.second))
    differing = [n for n in a.keys() & b.keys() if not alike(*_together(a[n], b[n]))]
    if len(differing) != 1 or context.first.family.startswith(NORMALISED):
        return None
    name = differing[0]
    mine, theirs = _together(a[name], b[name])
    if name not in ("probs", "gate") or not alike(mine, 1.0 - theirs):
        return None
    verb = "are" if name == "probs" else "is"
    return f"The second program's {name} {verb} 1 - the first's: the probability of the opposite is given"


def kindred(context: Context) -> str | None:
    """Probs are given as logits, a triangular factor as a covariance, or the like."""
    if context.first is None or context.second is None or context.finding.stage != "density":
        return None
    a, b = context.first.arguments, context.second.arguments
    for mine, theirs in (pair for kin in KINDRED for pair in permutations(kin, 2)):
        if (
            mine in a
            and theirs in b
            and np.ndim(a[mine]) == np.ndim(b[theirs])
            and alike(*np.broadcast_arrays(a[mine], b[theirs]))
        ):
            return f"The second program gives as {theirs} what the first gives as {mine}"
    for which, right, wrong in (("second", a, b), ("first", b, a)):
        if "logits" in right and "logits" in wrong:
            logits = right["logits"]
            if any(
                alike(p, wrong["logits"])
                for p in (scipy.special.expit(logits), scipy.special.softmax(logits, axis=-1))
            ):
                return f"The {which} program gives probs as logits: name them probs="
    return None


def unnormalised(context: Context) -> str | None:
    """Probs do not sum to 1, which only Pyro mends; but for that they are the same."""
    sites = [site for site in (context.first, context.second) if site is not None]
    given = [probs for s in sites if (probs := arguments_of(s).get("probs")) is not None]
    shares = [probs / probs.sum(-1, keepdims=True) for probs in given]
    if len(shares) == 2 and not alike(*_together(*shares)):
        return None
    for site in (context.first, context.second):
        probs = None if site is None else site.arguments.get("probs")
        if (
            site is None
            or probs is None
            or not site.family.startswith(("Categ", "Multinom", "OneHot"))
        ):
            continue
        if context.finding.stage in ("density", "execution") and not alike(
            probs.sum(-1), np.ones(probs.shape[:-1])
        ):
            return "The probs do not sum to 1: Pyro normalises them, NumPyro does not; divide by their sum"
    return None


def biased_deviation(context: Context) -> str | None:
    """A standard deviation divides by n where the other program divides by n - 1."""
    candidates = [(a, b) for _, a, b in context.differing()]
    if context.first is not None and context.second is not None:
        a, b = context.first.value, context.second.value
        if context.finding.stage == "value" and a is not None and b is not None:
            candidates.append((a, b))
    sizes = {n for values in context.pair.first.inputs.values() for n in values.shape if n > 1}
    for a, b in candidates:
        ratio = np.asarray(b, dtype=np.float64) / a
        ratio = ratio[np.isfinite(ratio)]
        for n in sizes:
            factor = np.sqrt((n - 1) / n)
            if ratio.size and any(
                alike(ratio, np.full_like(ratio, f)) for f in (factor, 1 / factor)
            ):
                return (
                    f"The factor is sqrt({n - 1}/{n}): torch.std divides by n - 1, jnp.std and np.std by "
                    "n; pass ddof=1 (jnp) or correction=0 (torch)"
                )
    return None


def differing_arguments(context: Context) -> str | None:
    """Some arguments of the distribution differ: which ones."""
    if context.finding.stage != "density":
        return None
    names = [name for name, _, _ in context.differing()]
    is_one = len(names) == 1 and not names[0].endswith("s")  # probs, logits, cutpoints
    return f"Its {' and '.join(names)} differ{'s' * is_one}" if names else None


def whole_numbers(context: Context) -> str | None:
    """torch's Bernoulli is observed at whole numbers, which it cannot score."""
    message = context.finding.message
    if (
        context.finding.stage != "execution"
        or "can't be cast to the desired output type" not in message
    ):
        return None
    return (
        "Perhaps whole numbers where torch wants real ones, as its Bernoulli does of what is observed: give "
        "the data as floats, which NumPyro takes, too"
    )


def truncated_away(context: Context) -> str | None:
    """NumPyro's truncated distribution has lost the mass that it divides by: no mistake of the port."""
    if context.finding.stage != "density":
        return None
    for which, site in (("first", context.first), ("second", context.second)):
        if site is None or getattr(context.finding, which) != "inf":
            continue
        is_truncated = site.family.endswith("TruncatedDistribution")
        if is_truncated and getattr(context.pair, which).framework == "numpyro":
            return (
                f"NumPyro's {site.family} is infinite where what it leaves has less probability than double "
                "precision can hold, 38 standard deviations from a normal's mean (8 between two bounds "
                "above it): the framework's own fault, whatever the other program gives"
            )
    return None


def families(context: Context) -> str | None:
    """The distributions, or some that they are made of, are others, which is all that can be said."""
    if context.first is None or context.second is None or context.finding.stage != "density":
        return None
    mine, theirs = families_of(context.first), families_of(context.second)
    if any(site[""].startswith(JOINED) for site in (mine, theirs)):
        return None
    for role in (role for role in mine if role in theirs):
        if not same_family(mine[role], theirs[role]):
            what = f"Its {role}" if role else "It"
            return f"{what} is {mine[role]} in the first program, {theirs[role]} in the second"
    return None


# -- masks, dims, plates ------------------------------------------------------------------------------


def masked(context: Context) -> str | None:
    """The masks differ, or are each other's complement."""
    if context.first is None or context.second is None or context.finding.stage != "density":
        return None
    masks = [
        np.broadcast_to(True if s.mask is None else s.mask, np.shape(s.log_prob))
        for s in (context.first, context.second)
        if s.log_prob is not None
    ]
    if len(masks) != 2 or masks[0].shape != masks[1].shape or (masks[0] == masks[1]).all():
        return None
    if (masks[0] == ~masks[1]).all():
        return "The masks are each other's complement"
    return "The masks differ"


def spoilt_under_mask(context: Context) -> str | None:
    """A gradient is NaN, because an entry that is masked is NaN or not inside of the support."""
    finding = context.finding
    if finding.program != "loss" or not (finding.stage == "gradient" or finding.is_nan):
        return None
    for which in (w for w in ("first", "second") if getattr(finding, w) == "nan"):
        run = context.pair.run(which)
        for name, site in {**run.model, **run.guide}.items():
            if what := _unusable(site):
                whose = "Both programs'" if finding.is_nan else f"The {which} program's"
                return (
                    f"{whose} gradient is not a number: an entry of {name} is {what} under its mask, which "
                    "takes the density out but not its derivative; replace the entry before it enters the "
                    "density, by any number of the support, and mask it as well"
                )
    return None


def _unusable(site: Site) -> str:
    """What is wrong with an entry that the mask leaves out, "" if nothing is."""
    if site.mask is None or site.value is None or site.log_prob is None:
        return ""
    out = ~np.broadcast_to(site.mask, site.log_prob.shape)
    low, high = EDGES.get(site.support, (-np.inf, np.inf))
    values = site.value.reshape(*out.shape, -1)[out]
    arguments = [
        np.broadcast_to(_of_batch(a, out.ndim), out.shape)[out] for a in site.arguments.values()
    ]
    if np.isnan(values).any():
        return "NaN"
    if ((values <= low) | (values >= high)).any():
        return "at or beyond the edge of the support"
    return "given arguments that are NaN" if any(np.isnan(a).any() for a in arguments) else ""


def _of_batch(argument: Array, dims: int) -> Array:
    """An argument's sum over its event dims: NaN where any of them is."""
    return argument.sum(axis=tuple(range(dims, argument.ndim)))


def rounded(context: Context) -> str | None:
    """A constant is cast, or was made before the run, where the default type is float32."""
    for name, a, b in context.differing() if context.is_numeric else []:
        for which, mine, theirs in (("first", a, b), ("second", b, a)):
            if np.array_equal(mine, theirs.astype(np.float32)):
                return (
                    f"The {which} program's {name} is the other's rounded to single precision: cast, or made "
                    "before the run, in the framework's default type. Make it inside of the program, without "
                    "a cast, or let a function make the program: Program.build(function)"
                )
    return None


def event_dims(context: Context) -> str | None:
    """A `to_event` is missing: the dims are the same, batch and event are divided otherwise."""
    if (
        context.finding.stage != "shape"
        or context.finding.level == "note"
        or not context.first
        or not context.second
    ):
        return None
    a, b = context.first, context.second
    if a.batch_shape + a.event_shape == b.batch_shape + b.event_shape:
        side = "second" if len(b.event_shape) < len(a.event_shape) else "first"
        return f"A .to_event({abs(len(a.event_shape) - len(b.event_shape))}) is missing in the {side} program"
    return None


def prebuilt_plates(context: Context) -> str | None:
    """Plates share a dim, because they were built before they were entered."""
    if context.finding.stage not in ("plates", "execution"):
        return None
    runs = context.pair.run("first"), context.pair.run("second")
    for site in (site for run in runs for site in (*run.guide.values(), *run.model.values())):
        used = {p.dim for p in site.plates}
        if len(used) < len(site.plates):
            names = " and ".join(p.name for p in site.plates)
            return (
                f"Plates {names} share a dim: NumPyro gives a plate its dim when it is built, Pyro when it "
                "is entered; build plates where they are entered, or give them dim="
            )
    return None
