"""Known mistakes of losses: a framework gets them wrong, or the two compute them in other ways."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinplate.loss_faults import (
    delta_density,
    divergence_factors,
    enumerated_scan,
    inner_factor,
    joint_density,
    mixed_items,
    squared_scale,
    unchecked_shapes,
)
from twinplate.records.record import Run, Site
from twinplate.verification.comparison.context import AGREEMENT, Context
from twinplate.verification.comparison.numbers import DrawPair
from twinplate.verification.comparison.structure import same_ends
from twinplate.verification.matching.autoguides import JOINED
from twinplate.verification.matching.sites import AUTOGUIDE_LATENT

CLOSE = 1e-6  # of densities that rounding and inaccuracies may part, and no mistake that matters
DISCRETE = ("boolean", "nonnegative_integer", "integer_interval", "one_hot", "multinomial")


def _is_loss_alone(context: Context, loss: str) -> bool:
    """Whether this loss differs, or its gradient, although the densities of all sites agree.

    Where a site differs, the loss follows from it, and has no cause of its own.
    """
    stages, pair = ("loss", "gradient"), context.pair
    return (
        context.finding.stage in stages
        and pair.first.settings.loss == loss
        and all(_sites_agree(pair, program) for program in ("model", "guide"))
    )


def _sites_agree(pair: DrawPair, program: str) -> bool:
    first, second = (getattr(pair.run(which), program) for which in ("first", "second"))
    totals = [(s.total, second[n].total) for n, s in first.items() if n in second]
    return all(np.allclose(a, b, rtol=CLOSE, atol=CLOSE, equal_nan=True) for a, b in totals)


def _runs(context: Context, framework: str) -> list[Run]:
    """Those of the programs of one framework."""
    records = {"first": context.pair.first, "second": context.pair.second}
    return [context.pair.run(w) for w, record in records.items() if record.framework == framework]


def _latents(runs: list[Run]) -> Iterator[tuple[str, Site, Site]]:
    """Name, site of the guide and site of the model of every latent."""
    for run in runs:
        for name, q in run.guide.items():
            if name in run.model and q.kind == "latent":
                yield name, q, run.model[name]


def lost_density(context: Context) -> str | None:
    """A `Delta` of the guide has a density, which Pyro's analytic divergence drops."""
    if not _is_loss_alone(context, "TraceMeanField_ELBO"):
        return None
    for name, q, _ in _latents(_runs(context, "pyro")):
        is_delta = q.family == "Delta" or q.family.startswith(JOINED)
        if is_delta and np.any(q.arguments.get("log_density", 0.0)):
            return delta_density(name)
    return None


def lost_mask(context: Context) -> str | None:
    """The model's mask is another than the guide's, whose mask alone Pyro applies to a divergence."""
    if not _is_loss_alone(context, "TraceMeanField_ELBO"):
        return None
    for name, q, p in _latents(_runs(context, "pyro")):
        drawn, scored = (np.asarray(True if s.mask is None else s.mask) for s in (q, p))
        if (drawn != scored).any():
            return divergence_factors(name)
    return None


def mean_field(context: Context) -> str | None:
    """`TraceMeanField_ELBO` takes analytic KLs, and the frameworks have different ones."""
    if not _is_loss_alone(context, "TraceMeanField_ELBO"):
        return None
    return (
        "TraceMeanField_ELBO uses an analytic KL wherever the framework has one, and they have "
        "different ones (NumPyro for AutoNormal, torch for many more families): compare Trace_ELBO"
    )


def score_function(context: Context) -> str | None:
    """A guide has discrete latents, and the gradient of these losses lacks a term in NumPyro."""
    loss = context.pair.first.settings.loss
    if loss not in ("Trace_ELBO", "RenyiELBO") or context.finding.stage != "gradient":
        return None
    if not _is_loss_alone(context, loss):
        return None
    for name, site in context.pair.run("first").guide.items():
        if site.support in (*DISCRETE, "circular") and site.kind == "latent":
            return (
                f"NumPyro's {loss} has no score-function term for sites of the guide that cannot be "
                f"reparametrised, such as {name!r}: its gradient is not that of the loss; use "
                "TraceGraph_ELBO in both"
            )
    return None


def scaled_score(context: Context) -> str | None:
    """A discrete site of the guide is scaled, and NumPyro scales its score-function term twice."""
    if context.finding.stage != "gradient" or not _is_loss_alone(context, "TraceGraph_ELBO"):
        return None
    for name, q, _ in _latents(_runs(context, "numpyro")):
        if q.support in DISCRETE and np.any(np.asarray(q.scale) != 1.0):
            return squared_scale(name)
    return None


def density_for_every_item(context: Context) -> str | None:
    """A guide draws jointly, outside of a plate around the whole model, what the other draws in the plate."""
    if not _is_loss_alone(context, "RenyiELBO"):
        return None
    for run in map(context.pair.run, ("first", "second")):
        plates = [set(s.plates) for s in run.model.values() if s.kind != "deterministic"]
        common = {plate for plate in set.intersection(*plates) if plate.subsample_size > 1}
        for name, q in run.guide.items():
            outside = sorted(plate.name for plate in common - set(q.plates))
            if outside and q.family != "Delta" and q.kind != "deterministic":
                return joint_density(name, outside[0])
    return None


def factor_inside(context: Context) -> str | None:
    """Pyro scales a mini-batch inside of the logarithm of a mean, NumPyro outside of it."""
    pyro, numpyro = (_runs(context, framework) for framework in ("pyro", "numpyro"))
    if not (pyro and numpyro and _is_loss_alone(context, "RenyiELBO")):
        return None
    plates = [plate for site in pyro[0].model.values() for plate in site.plates]
    subsampled = [plate.name for plate in plates if plate.subsample_size < plate.size]
    several = context.pair.first.settings.particles > 1
    return inner_factor(subsampled[0]) if subsampled and several else None


def scan(context: Context) -> str | None:
    """A `scan` is enumerated, and NumPyro's loss of it is known to be wrong."""
    if _is_loss_alone(context, "TraceEnum_ELBO") and "scan" in context.operations("numpyro"):
        return enumerated_scan()
    return None


def shapes(context: Context) -> str | None:
    """A latent has another shape in the guide, which NumPyro's enumerating loss alone accepts."""
    structural = context.finding.stage in ("plates", "shape", "execution")
    if not structural or context.pair.first.settings.loss != "TraceEnum_ELBO":
        return None
    for name, q, p in _latents(_runs(context, "numpyro")):
        drawn, scored = (_trimmed(site.batch_shape + site.event_shape) for site in (q, p))
        if drawn != scored and context.finding.site in ("", name):
            return unchecked_shapes(name, drawn, scored)
    return None


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without leading ones."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def batched_guide(context: Context) -> str | None:
    """One of NumPyro's batched automatic guides, of several sites, beside a guide of items."""
    if context.finding.program != "guide" or context.finding.stage not in ("sites", "shape"):
        return None
    for run in _runs(context, "numpyro"):
        joint = next((name for name in run.guide if AUTOGUIDE_LATENT.match(name)), None)
        factors = [p for name, p in run.parameters.items() if name.endswith("_scale_tril")]
        if joint and any(p.value.ndim > 2 for p in factors) and len(list(_latents([run]))) > 1:
            return mixed_items(joint)
    return None


def unknown_ends(context: Context) -> str | None:
    """A framework takes an interval for the real line, on which its sampler then moves."""
    for which, other in (("first", "second"), ("second", "first")):
        sites = [context.pair.run(w).model.get(context.finding.site) for w in (which, other)]
        if context.pair.first.has_guide or sites[0] is None or sites[1] is None:
            return None
        if sites[0].support == "real" and same_ends(sites[0], sites[1]):
            return (
                f"To the {which} program's framework the affine map at {context.finding.site!r} has no "
                "ends, so a sampler leaves the interval: use Pyro's AffineBeta, give NumPyro's "
                "AffineTransform a domain, or map the values of a Beta in the program"
            )
    return None


def gradient_alone(context: Context) -> str | None:
    """A gradient differs although the loss does not."""
    losses = [context.pair.run(which).loss for which in ("first", "second")]
    if (
        not context.is_numeric
        or context.finding.stage != "gradient"
        or losses[0] is None
        or losses[1] is None
    ):
        return None
    if not np.allclose(losses[0], losses[1], rtol=AGREEMENT, atol=0.0):
        return None
    return (
        "The losses agree: perhaps one program detaches (stop_gradient) what the other does not, or "
        "stands at an edge of abs, norm, maximum or clip, where the frameworks choose other subgradients"
    )
