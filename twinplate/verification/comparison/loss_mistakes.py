"""Known mistakes of losses: a framework gets them wrong, or the two compute them in other ways."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from twinplate.loss_faults import enumerated_scan, inner_factor, mixed_items, unchecked_shapes
from twinplate.records.record import Run
from twinplate.verification.comparison import shared_faults
from twinplate.verification.comparison.attribution import enumerated_alone
from twinplate.verification.comparison.context import AGREEMENT, Context
from twinplate.verification.comparison.numbers import WHICH, DrawPair
from twinplate.verification.comparison.shared_faults import DISCRETE, Fault, latents
from twinplate.verification.comparison.structure import same_ends
from twinplate.verification.matching.parameters import autoguide_role
from twinplate.verification.matching.sites import AUTOGUIDE_LATENT
from twinplate.words import counted

CLOSE = 1e-6  # of densities that rounding and inaccuracies may part, and no mistake that matters


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


def lost_density(context: Context) -> str | None:
    """A `Delta` of the guide has a density, which Pyro's analytic divergence drops."""
    return _of_a_run(context, "TraceMeanField_ELBO", shared_faults.lost_density, "pyro")


def lost_mask(context: Context) -> str | None:
    """The model's mask is another than the guide's, whose mask alone Pyro applies to a divergence."""
    return _of_a_run(context, "TraceMeanField_ELBO", shared_faults.lost_mask, "pyro")


def _of_a_run(
    context: Context, loss: str, fault: Callable[[Run], Fault | None], *frameworks: str
) -> str | None:
    """A fault that the loss has in the run of a program of one of the frameworks."""
    if not _is_loss_alone(context, loss):
        return None
    runs = [run for framework in frameworks for run in _runs(context, framework)]
    return next((found[1] for run in runs if (found := fault(run))), None)


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
    if context.finding.stage != "gradient":
        return None
    return _of_a_run(context, "TraceGraph_ELBO", shared_faults.scaled_score, "numpyro")


def density_for_every_item(context: Context) -> str | None:
    """A guide draws jointly, outside of a plate around the whole model, what the other draws in the plate."""
    fault = shared_faults.density_for_every_item
    return _of_a_run(context, "RenyiELBO", fault, "pyro", "numpyro")


def factor_inside(context: Context) -> str | None:
    """Pyro scales a mini-batch inside of the logarithm of a mean, NumPyro outside of it."""
    pyro, numpyro = (_runs(context, framework) for framework in ("pyro", "numpyro"))
    if not (pyro and numpyro and _is_loss_alone(context, "RenyiELBO")):
        return None
    plates = [plate for site in pyro[0].model.values() for plate in site.plates]
    subsampled = [plate.name for plate in plates if plate.subsample_size < plate.size]
    several = context.pair.first.settings.particles > 1
    return inner_factor(subsampled[0]) if subsampled and several else None


def enumerated_in_one(context: Context) -> str | None:
    """One program sums over the values of a latent, the other draws one."""
    if context.finding.stage != "loss" or context.pair.first.settings.loss != "TraceEnum_ELBO":
        return None
    names = enumerated_alone(context.pair)
    if not names:
        return None
    name, program = names[0]
    site = getattr(context.pair.run("first"), program)[name]
    summed, drawn = WHICH if site.enumerated else WHICH[::-1]
    further = f" (and so with {counted(len(names) - 1, 'other site')})" if names[1:] else ""
    return (
        f"The {summed} program sums over the values of {name!r}, the {drawn} draws one{further}: say "
        f'infer={{"enumerate": "parallel"}} at the site in the {program} of the {drawn}, or wrap that in '
        f"config_enumerate; to draw in both, take it out of the {summed}"
    )


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
    for name, q, p in latents(_runs(context, "numpyro")):
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
        if joint and any(p.value.ndim > 2 for p in factors) and len(list(latents([run]))) > 1:
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


def angles(context: Context) -> str | None:
    """Automatic guides draw an angle in two ways."""
    if context.finding.program != "guide" and context.finding.stage != "parameter":
        return None
    runs = [context.pair.run(which) for which in ("first", "second")]
    angle = next((n for run in runs for n, s in run.model.items() if s.support == "circular"), None)
    automatic = all(any(map(autoguide_role, run.parameters)) for run in runs)
    if not (angle and automatic) or context.pair.first.framework == context.pair.second.framework:
        return None
    return (
        f"Automatic guides take angle {angle!r} for a number of the real line in Pyro, and draw it by a map "
        "to (-π, π) in NumPyro; neither knows that the ends meet: write its guide by hand, with a VonMises"
    )


def gradient_alone(context: Context) -> str | None:
    """A gradient differs although the loss does not."""
    losses = [context.pair.run(which).loss for which in ("first", "second")]
    nan = [which for which in ("first", "second") if getattr(context.finding, which) == "nan"]
    if (
        not context.is_numeric
        or context.finding.stage != "gradient"
        or losses[0] is None
        or losses[1] is None
    ):
        return None
    if not np.allclose(losses[0], losses[1], rtol=AGREEMENT, atol=0.0):
        return None
    if len(nan) == 1:
        return (
            f"The loss agrees, but the {nan[0]} program's gradient is not a number: perhaps a where takes "
            "the value of one branch, while the other's derivative is infinite; put a harmless number into "
            "that branch first, as where(x > 0, log(where(x > 0, x, 1)), 0)"
        )
    return (
        "The losses agree: perhaps one program detaches (stop_gradient) what the other does not, or "
        "stands at an edge of abs, norm, maximum or clip, where the frameworks choose other subgradients"
    )
