"""What a framework's loss gets wrong of a run, told also where both programs have it: equal, yet no bound.

`loss_mistakes` names it where the losses part by it. Here are the notes for losses that agree.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinplate.loss_faults import delta_density, divergence_factors, joint_density, squared_scale
from twinplate.records.record import Run, Site
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.numbers import WHICH, DrawPair
from twinplate.verification.matching.autoguides import JOINED

Fault = tuple[str, str]  # the site that it is of, and what is told of it
DISCRETE = ("boolean", "nonnegative_integer", "integer_interval", "one_hot", "multinomial")


def latents(runs: list[Run]) -> Iterator[tuple[str, Site, Site]]:
    """Name, site of the guide and site of the model of every latent."""
    for run in runs:
        for name, q in run.guide.items():
            if name in run.model and q.kind == "latent":
                yield name, q, run.model[name]


def lost_density(run: Run) -> Fault | None:
    """Of Pyro's `TraceMeanField_ELBO`: a `Delta` of the guide has a density, which is dropped."""
    for name, q, _ in latents([run]):
        is_delta = q.family == "Delta" or q.family.startswith(JOINED)
        if is_delta and np.any(q.arguments.get("log_density", 0.0)):
            return name, delta_density(name)
    return None


def lost_mask(run: Run) -> Fault | None:
    """Of Pyro's `TraceMeanField_ELBO`: the model's mask is another than the guide's, which alone counts."""
    for name, q, p in latents([run]):
        drawn, scored = (np.asarray(True if s.mask is None else s.mask) for s in (q, p))
        if (drawn != scored).any():
            return name, divergence_factors(name)
    return None


def lost_scale(run: Run) -> Fault | None:
    """Of `TraceMeanField_ELBO`: the model's scale is another than the guide's, which counts in a divergence.

    Where none of one family is known, the loss is that of the densities, and right.
    """
    densities = sum(float(s.total.sum()) for s in run.guide.values()) - sum(
        float(s.total.sum()) for s in run.model.values()
    )
    for name, q, p in latents([run]):
        other = np.shape(q.scale) != np.shape(p.scale) or np.any(np.asarray(q.scale) != p.scale)
        if q.family == p.family and other and run.loss is not None:
            is_density = np.isclose(run.loss.sum(), densities)
            return None if is_density else (name, divergence_factors(name))
    return None


def scaled_score(run: Run) -> Fault | None:
    """Of NumPyro's `TraceGraph_ELBO`: a discrete site of the guide is scaled, its score term twice."""
    for name, q, _ in latents([run]):
        if q.support in DISCRETE and np.any(np.asarray(q.scale) != 1.0):
            return name, squared_scale(name)
    return None


def density_for_every_item(run: Run) -> Fault | None:
    """Of `RenyiELBO`: a site of the guide stands outside of a plate that is around the whole model."""
    plates = [set(s.plates) for s in run.model.values() if s.kind != "deterministic"]
    common = {plate for plate in set.intersection(*plates) if plate.subsample_size > 1}
    for name, q in run.guide.items():
        outside = sorted(plate.name for plate in common - set(q.plates))
        if outside and q.family != "Delta" and q.kind != "deterministic":
            return name, joint_density(name, outside[0])
    return None


# Loss -> what is wrong with it, and in which framework.
FAULTS = {
    "TraceMeanField_ELBO": (
        (lost_density, ("pyro",)),
        (lost_mask, ("pyro",)),
        (lost_scale, ("pyro", "numpyro")),
    ),
    "TraceGraph_ELBO": ((scaled_score, ("numpyro",)),),
    "RenyiELBO": ((density_for_every_item, ("pyro", "numpyro")),),
}


def wrong_in_both(pair: DrawPair) -> Iterator[Finding]:
    """A note for each fault of the loss that both programs have."""
    frameworks = {pair.first.framework, pair.second.framework}
    if not (pair.first.has_guide and pair.is_complete):
        return
    for fault, concerned in FAULTS.get(pair.first.settings.loss, ()):
        found = [fault(pair.run(which)) for which in WHICH]
        if frameworks <= set(concerned) and found[0] and found[1]:
            site, told = found[0]
            message = f"is wrong in both programs, in which it agrees: {told}"
            yield Finding("note", "loss", "loss", site, message)
